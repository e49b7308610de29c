//! The shards of the outbox that this instance may publish, and how its loops share them.

/// The shards held, each with the fencing epoch under which it was taken, and how many sweeps of it operators have asked
/// for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Leases {
    pub(crate) shards: Vec<i16>,
    pub(crate) epochs: Vec<i64>,
    pub(crate) sweeps: Vec<i64>,
}

impl Leases {
    /// The leases whose shards belong to a group.
    pub(crate) fn of_group(&self, group: ShardGroup) -> Self {
        let mut part = Self::default();
        for ((shard, epoch), sweeps) in self.shards.iter().zip(&self.epochs).zip(&self.sweeps) {
            if group.contains(*shard) {
                part.shards.push(*shard);
                part.epochs.push(*epoch);
                part.sweeps.push(*sweeps);
            }
        }
        part
    }
}

/// A part of the shards. A relay forwards each group in a loop of its own, beside the others.
///
/// A shard always belongs to the same group: otherwise two loops that read the leases at different times could both take
/// it as theirs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShardGroup {
    number: i16,
    of: i16,
}

impl ShardGroup {
    /// `of` groups that together have all shards.
    pub(crate) fn all(of: i16) -> impl Iterator<Item = Self> {
        (0..of).map(move |number| Self { number, of })
    }

    pub(crate) const fn contains(self, shard: i16) -> bool {
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
            epochs: shards.iter().map(|shard| i64::from(*shard) + 100).collect(),
            sweeps: shards.iter().map(|shard| i64::from(*shard) + 200).collect(),
        };
        let parts = |shards: &[i16]| ShardGroup::all(3).map(|group| held(shards).of_group(group)).collect::<Vec<_>>();
        assert_eq!(parts(&[0, 1, 2, 5, 6, 15]), [held(&[0, 6, 15]), held(&[1]), held(&[2, 5])]);
        assert_eq!(parts(&[5, 15]), [held(&[15]), held(&[]), held(&[5])]);
    }
}
