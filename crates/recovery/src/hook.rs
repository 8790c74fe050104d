//! The panic hook: one for the process, in front of the one that was there.

use std::{panic::PanicHookInfo, sync::Once};

use crate::{
    backtraces::Trace,
    reporter,
    section::{self, Site},
};

/// Puts the hook in its place, once.
pub(crate) fn install() {
    static INSTALLED: Once = Once::new();
    // Taking the hook is not allowed while panicking; the next layer will do it.
    if std::thread::panicking() {
        return;
    }
    INSTALLED.call_once(|| {
        if cfg!(panic = "abort") {
            tracing::warn!(
                target: "graceful::panic",
                "built with panic = \"abort\": a panic ends the process, the recovery layer cannot catch it"
            );
            return;
        }
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !divert(info) {
                previous(info);
            }
        }));
    });
}

/// Whether this panic is the layer's to report, and the previous hook need not hear of it.
///
/// A panic in here would abort the process, so it calls nothing foreign: no subscriber, no `Display`.
fn divert(info: &PanicHookInfo<'_>) -> bool {
    let Some(section) = section::current() else { return false };
    // Either the application caught the first one itself, or it is unwinding and this one is in a destructor, which may
    // end the process. There is no telling, so both are shown at once, and reported as well if it goes on.
    let nested = section.sites() > 0;
    if nested {
        section::show();
    }
    let trace = match section.captures() {
        false => Trace::Off,
        true if reporter::has_room() => Trace::capture(),
        true => Trace::Omitted(reporter::NO_ROOM),
    };
    section::leave(Site::of(info, trace, nested)) && !nested
}
