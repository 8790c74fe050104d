//! The guarded section: foreign code runs in it, and the panic hook can tell that it does.

use std::{
    any::Any,
    borrow::Cow,
    cell::Cell,
    io::Write,
    panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind},
};

use crate::{backtraces::Trace, cause};

/// Where a panic began, as the hook saw it.
#[derive(Debug)]
pub(crate) struct Site {
    /// What it said: by this a payload that was caught finds its site.
    pub(crate) text: Cow<'static, str>,
    pub(crate) location: Option<String>,
    pub(crate) trace: Trace,
    /// It was told to stderr or to the previous hook, for fear that the process ends before the report.
    shown: bool,
}

impl Site {
    pub(crate) fn of(info: &PanicHookInfo<'_>, trace: Trace, shown: bool) -> Self {
        let text = cause::text_of(info.payload());
        Self { text, location: info.location().map(ToString::to_string), trace, shown }
    }

    /// A panic that no hook of ours saw.
    pub(crate) const fn nowhere(text: Cow<'static, str>) -> Self {
        Self { text, location: None, trace: Trace::Off, shown: false }
    }
}

/// The innermost section of this thread. In one word, as it is read and written several times a request.
#[derive(Clone, Copy)]
pub(crate) struct Section(u32);

impl Section {
    const OUTSIDE: Self = Self(0);
    const INSIDE: u32 = 1;
    const CAPTURE: u32 = 1 << 1;
    /// One site, in the bits above the flags.
    const SITE: u32 = 1 << 2;

    const fn enter(self, capture: bool) -> Self {
        Self((self.0 & !Self::CAPTURE) | Self::INSIDE | if capture { Self::CAPTURE } else { 0 })
    }

    /// Whether its layer wants backtraces.
    pub(crate) const fn captures(self) -> bool {
        self.0 & Self::CAPTURE != 0
    }

    /// How many sites wait in `SITES`. A section takes those that came after it began: when it runs in a destructor, the
    /// panic that is unwinding belongs to a section outside.
    pub(crate) const fn sites(self) -> u32 {
        self.0 / Self::SITE
    }

    const fn with_sites(self, sites: u32) -> Self {
        Self((self.0 % Self::SITE) + sites * Self::SITE)
    }
}

/// What came out of a section in the place of a clean end.
pub(crate) struct Caught {
    /// `None` if the application caught all of it itself.
    pub(crate) payload: Option<Box<dyn Any + Send>>,
    /// Where the panics began that were diverted in the section, the oldest first.
    pub(crate) sites: Vec<Site>,
}

thread_local! {
    // `Cell`s, because a hook may run at any point: there is no borrow that it could meet. This one has no destructor, so
    // it is there until the thread's last breath.
    static SECTION: Cell<Section> = const { Cell::new(Section::OUTSIDE) };
    static SITES: Cell<Vec<Site>> = const { Cell::new(Vec::new()) };
}

/// Runs `foreign` and catches what unwinds from it. `None` is the clean end.
///
/// Where nothing panics this is two accesses to a thread-local and a `catch_unwind`. It is called once, and by reference:
/// a request that it held would be copied once a layer of calls. For the same reason there is no value, as a response is
/// large; `foreign` writes it to where it is wanted.
#[inline]
pub(crate) fn run(capture: bool, mut foreign: impl FnMut()) -> Option<Caught> {
    let outer = SECTION.get();
    SECTION.set(outer.enter(capture));
    // Not unwind-safe is what the caller makes good: it never touches again what was left half done, but for dropping it.
    let result = catch_unwind(AssertUnwindSafe(|| __graceful_guarded(&mut foreign)));
    let sites = SECTION.replace(outer).sites();
    if result.is_ok() && sites == outer.sites() {
        return None;
    }
    Some(Caught { payload: result.err(), sites: since(outer.sites()) })
}

/// A frame to be recognised in a backtrace: below it is nothing of the handler's.
#[inline(never)]
fn __graceful_guarded(foreign: &mut impl FnMut()) {
    foreign();
    // Otherwise the call above would be a jump, and the frame gone.
    std::hint::black_box(());
}

#[cold]
fn since(first: u32) -> Vec<Site> {
    let split = SITES.try_with(|cell| {
        let mut sites = cell.take();
        let ours = sites.split_off(sites.len().min(first as usize));
        cell.set(sites);
        ours
    });
    split.unwrap_or_default()
}

/// The section that this thread is in, if it is in one.
pub(crate) fn current() -> Option<Section> {
    Some(SECTION.get()).filter(|section| section.0 & Section::INSIDE != 0)
}

/// Leaves a site for the section to find. `false` if that is not possible, because the thread is ending.
pub(crate) fn leave(site: Site) -> bool {
    let left = SITES.try_with(|cell| {
        let mut sites = cell.take();
        if sites.len() == MAX_SITES {
            sites.pop();
        }
        sites.push(site);
        let len = u32::try_from(sites.len()).unwrap_or(u32::MAX / Section::SITE); // at most `MAX_SITES`
        cell.set(sites);
        SECTION.set(SECTION.get().with_sites(len));
    });
    left.is_ok()
}

/// Writes the sites that wait to stderr, each once.
///
/// A second panic while one waits may be the one in a destructor that aborts the process, and with it the report.
pub(crate) fn show() {
    let _ = SITES.try_with(|cell| {
        let mut sites = cell.take();
        for site in sites.iter_mut().filter(|site| !site.shown) {
            site.shown = true;
            let at = site.location.as_deref().unwrap_or("an unknown place");
            let _ = writeln!(std::io::stderr(), "panicked earlier at {at}, not reported yet:\n{}", site.text);
        }
        cell.set(sites);
    });
}

/// Panics in one poll that a section remembers. Above, the last counts: it is the likeliest to get out.
const MAX_SITES: usize = 8;
