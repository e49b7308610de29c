//! What `PROJECT_STRUCTURE.md` and the house style promise about the shape of the code, checked by reading the sources.

mod arrows;
mod cycles;
mod documents;
mod errors;
mod sizes;
mod sources;
mod words;
mod writers;
