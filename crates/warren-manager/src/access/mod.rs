//! Who may ask what of a manager, and where it is answered. [`Gate`] stands before every service of every port: it
//! finds out who calls, holds that against the table of what each call needs, and sends calls that only the leader
//! answers on to it.

mod caller;
mod forward;
mod gate;
mod line;
mod rates;
mod table;
mod visitors;

pub use caller::Caller;
pub(crate) use caller::is_built_in;
pub use forward::Forward;
pub use gate::{Gate, GateLayer};
pub use line::{Busy, Line, Remote, Rest};
pub(crate) use table::Need;
pub use visitors::{Full, Limits, Visitors};
