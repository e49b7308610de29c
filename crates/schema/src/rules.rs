//! What a migration after the first six may say (docs/migrations.md). While it runs, and for as long as an upgrade takes,
//! programs of the release before use the tables.

use std::fs;
use std::path::Path;

/// These build the whole database, before any program runs.
const FIRST: i64 = 7;
const EXPAND: &str = "-- expand: ";
const CONTRACT: &str = "-- contract: needs programs that know migration ";
const LOCK_TIMEOUT: &str = "set local lock_timeout = ";
const OUTSIDE: &str = "-- no-transaction";

/// What programs of the release before may still use, or what blocks them.
const ONLY_CONTRACTING: [(&str, &str); 9] = [
    (" drop ", "removes something"),
    ("truncate ", "removes rows"),
    ("delete from ", "removes rows"),
    (" rename ", "renames something: add the new one, and remove the old one a release later"),
    (" type ", "changes a type, which rewrites the table"),
    ("set not null", "requires a value that older programs do not write"),
    ("not null", "requires a value that older programs do not write; give it a constant default"),
    ("revoke ", "takes a right away"),
    (" owner to ", "changes an owner"),
];

/// The statements, in lower case, without comments, line breaks and the bodies of functions.
fn statements(text: &str) -> Vec<String> {
    let code: Vec<&str> = text.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
    let code = code.join(" ").to_lowercase();
    let code = code.split("$$").step_by(2).collect::<Vec<_>>().join(" ");
    let words = |statement: &str| statement.split_whitespace().collect::<Vec<_>>().join(" ");
    code.split(';').map(words).filter(|statement| !statement.is_empty()).collect()
}

/// What is wrong with a migration.
fn mistakes(version: i64, text: &str) -> Vec<String> {
    let mut lines = text.lines().skip_while(|line| line.starts_with(OUTSIDE));
    let header = lines.next().unwrap_or_default();
    let mut mistakes = Vec::new();
    if let Some(number) = header.strip_prefix(CONTRACT) {
        let required = number.trim().parse::<i64>().ok().filter(|needed| *needed < version);
        match required {
            None => mistakes.push(format!("{number:?} is not the number of an earlier migration")),
            Some(needed) if !text.contains(&format!("select messaging.require_programs({needed});")) => {
                mistakes.push(format!("it does not call messaging.require_programs({needed})"));
            }
            Some(_) => {}
        }
    } else if header.starts_with(EXPAND) {
        mistakes.extend(statements(text).iter().filter_map(|statement| breaks_older(statement)));
    } else {
        mistakes.push(format!("it begins neither with {EXPAND:?} nor with {CONTRACT:?}"));
    }
    if !text.starts_with(OUTSIDE) && !text.contains(LOCK_TIMEOUT) {
        mistakes.push(format!("it lacks {LOCK_TIMEOUT:?}: later statements would wait behind it"));
    }
    mistakes.extend(statements(text).iter().filter_map(|statement| blocks(statement, text)));
    mistakes
}

/// A new table may be anything. What exists may only gain.
fn breaks_older(statement: &str) -> Option<String> {
    if ["create table ", "create function ", "create view ", "create or replace view "]
        .iter()
        .any(|new| statement.starts_with(new))
    {
        return None;
    }
    let with_default = statement.contains(" default ") && !statement.contains("set not null");
    let padded = format!(" {statement} ").replace(" is not null", "");
    let mut reasons = ONLY_CONTRACTING.iter();
    let why = reasons.find(|(words, _)| padded.contains(words) && !(*words == "not null" && with_default));
    why.map(|(_, why)| format!("\"{statement}\" {why}"))
}

/// Postgres locks a table while it builds an index or checks its rows.
fn blocks(statement: &str, text: &str) -> Option<String> {
    let index = statement.starts_with("create index ") || statement.starts_with("create unique index ");
    if index && !statement.contains(" concurrently ") {
        return Some(format!("\"{statement}\" blocks writers: create the index concurrently"));
    }
    if statement.contains(" concurrently ") && (!text.starts_with(OUTSIDE) || statements(text).len() != 1) {
        return Some(format!("\"{statement}\" needs a file of its own that begins with {OUTSIDE:?}"));
    }
    let adds_check = statement.contains("add constraint ") && !statement.contains(" using index ");
    if adds_check && !statement.ends_with(" not valid") {
        return Some(format!("\"{statement}\" checks every row under a lock: add it not valid, validate it later"));
    }
    None
}

fn files(folder: &str) -> Vec<(i64, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    let files = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let sql = files.filter(|file| file.extension().is_some_and(|extension| extension == "sql"));
    sql.map(|file| {
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        let number = name.split('_').next().and_then(|number| number.parse().ok()).expect("a number");
        (number, fs::read_to_string(&file).expect("text"))
    })
    .collect()
}

#[test]
fn every_later_migration_keeps_the_rules() {
    let later: Vec<_> =
        ["migrations", "tests/upgrade"].into_iter().flat_map(files).filter(|(n, _)| *n > FIRST).collect();
    assert!(later.len() >= 2, "those of `make upgrade` at least");
    for (version, text) in later {
        assert_eq!(mistakes(version, &text), Vec::<String>::new(), "migration {version}");
    }
}

#[test]
fn what_breaks_or_blocks_older_programs_is_found() {
    let expand = |sql: &str| format!("-- expand: a test\nset local lock_timeout = '2s';\n{sql};\n");
    for good in [
        "alter table command.orders add column gift_note text",
        "alter table command.orders add column gift boolean not null default false",
        "create table work.gifts (id uuid not null constraint gifts_pkey primary key)",
        "alter table command.orders add constraint orders_gift check (gift is not null) not valid",
        "alter table command.orders validate constraint orders_gift",
        "insert into messaging.queues (name) values ('gifts')",
    ] {
        assert_eq!(mistakes(6, &expand(good)), Vec::<String>::new(), "{good}");
    }
    for bad in [
        "alter table command.orders drop column gift_note",
        "alter table command.orders rename column gift_note to note",
        "alter table command.orders alter column version type bigint",
        "alter table command.orders alter column gift set not null",
        "alter table command.orders add column gift boolean not null",
        "create index orders_gift on command.orders (gift)",
        "create index concurrently orders_gift on command.orders (gift)",
        "alter table command.orders add constraint orders_gift check (gift is not null)",
        "delete from messaging.queues where name = 'refunds'",
        "revoke select on messaging.queues from articurated_query",
    ] {
        assert_eq!(mistakes(6, &expand(bad)).len(), 1, "{bad}");
    }
    let concurrently =
        "-- no-transaction\n-- expand: a test\ncreate index concurrently orders_gift on command.orders (gift);";
    assert_eq!(mistakes(6, concurrently), Vec::<String>::new());
    let contract = |needed: i64, call: i64| {
        format!(
            "{CONTRACT}000{needed}\nset local lock_timeout = '2s';\nselect messaging.require_programs({call});\nalter table command.orders drop column gift_note;"
        )
    };
    assert_eq!(mistakes(7, &contract(6, 6)), Vec::<String>::new());
    assert_eq!(
        mistakes(7, &contract(7, 7)).len(),
        1,
        "it cannot require itself: no program has been without its use yet"
    );
    assert_eq!(mistakes(7, &contract(6, 5)).len(), 1, "it must call what it says");
    assert_eq!(mistakes(7, "alter table command.orders drop column gift_note;").len(), 2, "no header, no lock_timeout");
}
