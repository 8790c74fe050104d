use std::{fmt, sync::atomic::Ordering::Relaxed};

use crate::{Registry, Stopping};

impl Registry {
    /// The right to [tell](Self::cancel_all) and to [abort](Self::abort_all) the work of this registry, for one server
    /// at a time; `None` while another has it.
    ///
    /// When it is dropped the order to stop is taken back, and the next one may start. If something still lives, as a
    /// blocking task that was left behind, the order stands until the next one claims: such a task may look at it late.
    #[must_use]
    pub fn claim(&self) -> Option<Claim> {
        // Relaxed: it orders nothing but itself.
        let was_claimed = self.inner.claimed.swap(true, Relaxed);
        // Not `then_some`: a claim that is made only to be thrown away would end the other's.
        (!was_claimed).then(|| {
            self.inner.stopping.send_replace(Stopping::No);
            Claim { registry: self.clone() }
        })
    }
}

/// Of [`Registry::claim`].
#[must_use = "it lasts until it is dropped"]
pub struct Claim {
    registry: Registry,
}

impl Claim {
    /// That of the [current](Registry::current) registry; of a new one, if another has that: so that the end of one server
    /// is not the end of what another one in the same process does.
    pub fn of_current() -> Self {
        let current = Registry::current();
        current.claim().unwrap_or_else(|| {
            let registry = Registry::new();
            registry.inner.claimed.store(true, Relaxed);
            Self { registry }
        })
    }

    /// The registry that it is of.
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let left = !self.registry.is_empty();
        self.registry
            .inner
            .stopping
            .send_modify(|now| *now = if left { (*now).min(Stopping::Told) } else { Stopping::No });
        self.registry.inner.claimed.store(false, Relaxed);
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { registry } = self;
        f.debug_tuple("Claim").field(registry).finish()
    }
}
