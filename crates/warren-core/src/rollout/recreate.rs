//! Recreate: downtime by choice, for what can exist only once.

use super::{Rollout, Shape};

/// All old tasks go, then the new ones come.
pub(super) fn shape(rollout: &Rollout) -> Shape {
    Shape::Recreate { revision: rollout.to }
}
