//! `sqlx::migrate!` embeds the migrations; cargo cannot see that from the macro.

fn main() {
    println!("cargo::rerun-if-changed=../../migrations");
}
