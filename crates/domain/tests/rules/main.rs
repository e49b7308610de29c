//! The rules against what the requirements say (`states`, `vectors`, `tax`, `placing`, `returning`, `reviewing`) and against the laws
//! that must hold for any input (the `proptest!` blocks among them).

mod states;
mod money;
mod tax;
mod gst;
mod placing;
mod returning;
mod reviewing;
mod vectors;
