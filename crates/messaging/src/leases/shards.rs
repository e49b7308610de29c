//! The shards of the log that a process may read, and how its loops share them.

/// The shards held, each with the fencing epoch under which it was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leases {
    /// The server that gave them; after a failover it is another one.
    pub timeline: String,
    pub shards: Vec<i16>,
    pub epochs: Vec<i64>,
}

impl Leases {
    /// The leases whose shards belong to a group.
    pub fn of_group(&self, group: ShardGroup) -> Self {
        let mut part = Self { timeline: self.timeline.clone(), ..Self::default() };
        for (shard, epoch) in self.shards.iter().zip(&self.epochs) {
            if group.contains(*shard) {
                part.shards.push(*shard);
                part.epochs.push(*epoch);
            }
        }
        part
    }

    /// The leases of all other shards.
    #[must_use]
    pub fn without(mut self, shards: &[i16]) -> Self {
        let kept = self.shards.iter().zip(&self.epochs).filter(|(shard, _)| !shards.contains(shard));
        (self.shards, self.epochs) = kept.map(|(shard, epoch)| (*shard, *epoch)).unzip();
        self
    }
}

/// A part of the shards. A process reads each group in a loop of its own, beside the others.
///
/// A shard always belongs to the same group: otherwise two loops that read the leases at different times could both take
/// it as theirs.
#[derive(Debug, Clone, Copy)]
pub struct ShardGroup {
    number: i16,
    of: i16,
}

impl ShardGroup {
    /// `of` groups that together have all shards.
    pub fn all(of: i16) -> impl Iterator<Item = Self> {
        (0..of).map(move |number| Self { number, of })
    }

    pub const fn contains(self, shard: i16) -> bool {
        shard % self.of == self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shard_is_in_one_group_and_always_in_the_same() {
        let held = |shards: &[i16]| Leases {
            shards: shards.to_vec(),
            timeline: "00000001".to_owned(),
            epochs: shards.iter().map(|shard| i64::from(*shard) + 100).collect(),
        };
        let parts = |shards: &[i16]| ShardGroup::all(3).map(|group| held(shards).of_group(group)).collect::<Vec<_>>();
        assert_eq!(parts(&[0, 1, 2, 5, 6, 15]), [held(&[0, 6, 15]), held(&[1]), held(&[2, 5])]);
        assert_eq!(parts(&[5, 15]), [held(&[15]), held(&[]), held(&[5])]);
    }
}
