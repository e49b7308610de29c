//! The console in Chromium: every page, every act, with the mouse and with the keyboard alone, with and without scripts, dark and light, on
//! a phone and on a wide screen, and for readers of screens (axe-core).

mod page;
mod person;
mod pages;
mod acts;
mod mend;

pub(super) use person::Person;
