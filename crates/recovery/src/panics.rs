use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::Place;

/// How many panics a [`RecoveryLayer`](crate::RecoveryLayer) has caught: a handle that can be kept and cloned.
///
/// It costs nothing until there is a panic. A deliberate [`abort`](crate::abort) does not count, nor does a panic that
/// the application caught itself.
#[derive(Clone, Debug, Default)]
pub struct Panics {
    // Numbers that order nothing else: `Relaxed` everywhere.
    caught: Arc<[AtomicU64; Place::ALL.len()]>,
}

impl Panics {
    /// All panics since the layer was made.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.caught.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// The panics that were caught in one place.
    #[must_use]
    pub fn at(&self, place: Place) -> u64 {
        self.caught[place as usize].load(Relaxed)
    }

    pub(crate) fn add(&self, place: Place) {
        self.caught[place as usize].fetch_add(1, Relaxed);
    }
}
