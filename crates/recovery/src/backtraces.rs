//! Backtraces: whether there shall be one, and what of it is worth reading.

use std::{backtrace::Backtrace, ffi::OsStr};

/// Whether reports have a backtrace, and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backtraces {
    Off { whole: bool },
    On { whole: bool },
}

impl Default for Backtraces {
    fn default() -> Self {
        Self::Off { whole: false }
    }
}

impl Backtraces {
    pub(crate) fn from_env() -> Self {
        let lib = std::env::var_os("RUST_LIB_BACKTRACE");
        let all = std::env::var_os("RUST_BACKTRACE");
        Self::from_values(lib.as_deref(), all.as_deref())
    }

    /// std's rule, but for the default: only an explicit `0` is off.
    fn from_values(lib: Option<&OsStr>, all: Option<&OsStr>) -> Self {
        match lib.or(all) {
            Some(value) if value == "0" => Self::Off { whole: false },
            Some(value) => Self::On { whole: value == "full" },
            None => Self::On { whole: false },
        }
    }

    pub(crate) fn switched(self, on: bool) -> Self {
        let whole = self.whole();
        if on { Self::On { whole } } else { Self::Off { whole } }
    }

    pub(crate) const fn captured(self) -> bool {
        matches!(self, Self::On { .. })
    }

    /// Whether the frames of the panic machinery and of the runtime stay in.
    pub(crate) const fn whole(self) -> bool {
        let (Self::Off { whole } | Self::On { whole }) = self;
        whole
    }
}

/// The backtrace of one panic, or why there is none.
#[derive(Debug)]
pub(crate) enum Trace {
    Off,
    /// Addresses only. Giving them names takes 90 ms the first time in a process, and is not for a worker thread.
    Captured(Backtrace),
    Omitted(&'static str),
}

impl Trace {
    pub(crate) fn capture() -> Self {
        Self::Captured(Backtrace::force_capture())
    }
}

/// The frames from the one that panicked down to the one that called into the guarded section.
///
/// std prints what it has and offers no more on stable Rust, so this works on the text, by the names of functions that
/// std and this crate keep for that purpose. What it does not recognise it leaves in: a binary without symbols has the
/// whole list.
pub(crate) fn trimmed(whole: &str) -> String {
    let symbols = symbols(whole);
    let machinery = symbols.iter().position(|symbol| symbol.name.contains("__rust_end_short_backtrace"));
    let first = machinery.map_or(0, |end| {
        let rest = &symbols[end + 1..];
        end + 1 + rest.iter().position(|symbol| !is_machinery(symbol.name)).unwrap_or(0)
    });
    let rest = &symbols[first..];
    let guard = rest.iter().position(|symbol| symbol.name.contains("__graceful_guarded"));
    let ours = rest[..guard.unwrap_or(0)].iter().rev().take_while(|symbol| is_ours(symbol.name)).count();
    let last = guard.map_or(rest.len(), |guard| guard - ours);
    // Nothing left is not what anybody wanted to read.
    let kept = if last == 0 { rest } else { &rest[..last] };

    let mut text = String::with_capacity(whole.len());
    for (number, symbol) in kept.iter().take(MAX_FRAMES).enumerate() {
        text.push_str(&format!("{number:4}: {}\n", symbol.name));
        for line in symbol.place.lines() {
            text.push_str(line);
            text.push('\n');
        }
    }
    if kept.len() > MAX_FRAMES {
        text.push_str(&format!("      … {} more", kept.len() - MAX_FRAMES));
    }
    text.truncate(text.trim_end().len());
    text
}

/// A function of the list with the lines that say where it is. An inlined one has no number of its own in the list.
struct Symbol<'a> {
    name: &'a str,
    place: &'a str,
}

fn symbols(whole: &str) -> Vec<Symbol<'_>> {
    let mut symbols: Vec<Symbol<'_>> = Vec::new();
    let mut start = 0;
    for line in whole.split_inclusive('\n') {
        let end = start + line.len();
        let text = line.trim();
        if text.starts_with("at ") {
            if let Some(last) = symbols.last_mut() {
                // The line before belongs to the same symbol, so the two are one slice.
                let from = if last.place.is_empty() { start } else { start - last.place.len() };
                last.place = &whole[from..end];
            }
        } else if !text.is_empty() {
            let name = match text.split_once(": ") {
                Some((number, name)) if number.bytes().all(|b| b.is_ascii_digit()) => name,
                _ => text,
            };
            symbols.push(Symbol { name, place: "" });
        }
        start = end;
    }
    symbols
}

/// What lies between `panic!` and the hook. `Option::unwrap` and the like stay: they say what failed.
fn is_machinery(name: &str) -> bool {
    name.contains("rust_begin_unwind")
        || name.starts_with("core::panicking::")
        || name.starts_with("std::panicking::")
        || name.starts_with("std::panic::panic_any")
        || name.ends_with("::unwrap_failed")
        || name.ends_with("::expect_failed")
}

/// The closures of this crate that call into the service, right above the guard.
fn is_ours(name: &str) -> bool {
    name.contains("graceful_recovery::") && name.contains("closure") || name.contains("FnOnce")
}

/// As many as std's own short format prints.
const MAX_FRAMES: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_explicit_zero_is_off() {
        let rule =
            |lib: Option<&str>, all: Option<&str>| Backtraces::from_values(lib.map(OsStr::new), all.map(OsStr::new));
        let (on, full, off) =
            (Backtraces::On { whole: false }, Backtraces::On { whole: true }, Backtraces::Off { whole: false });
        assert_eq!(rule(None, None), on, "unset is on");
        assert_eq!(rule(None, Some("0")), off);
        assert_eq!(rule(None, Some("1")), on);
        assert_eq!(rule(None, Some("full")), full);
        assert_eq!(rule(Some("1"), Some("0")), on, "the one for libraries is asked first");
        assert_eq!(rule(Some("0"), Some("full")), off, "the one for libraries is asked first");
    }

    #[test]
    fn what_the_code_says_wins() {
        let off = Backtraces::from_values(None, Some(OsStr::new("0")));
        assert!(off.switched(true).captured());
        let full = Backtraces::from_values(None, Some(OsStr::new("full")));
        assert!(!full.switched(false).captured());
        assert!(full.switched(false).switched(true).whole(), "how much is the environment's to say");
    }

    const WHOLE: &str = "   0: <std::backtrace::Backtrace>::force_capture
             at /rustc/x/backtrace.rs:1:1
   1: graceful_recovery::hook::divert
   2: std::panicking::panic_with_hook
   3: std::sys::backtrace::__rust_end_short_backtrace::<std::panicking::panic_handler::{closure#0}, !>
             at /rustc/x/backtrace.rs:182:18
   4: __rustc::rust_begin_unwind
   5: core::panicking::panic_fmt
             at /rustc/x/panicking.rs:80:14
   6: core::option::unwrap_failed
   7: core::option::Option<T>::unwrap
      app::load
             at ./src/app.rs:7:9
   8: app::handler::{{closure}}
             at ./src/app.rs:3:5
   9: <graceful_recovery::future::ResponseFuture<F> as core::future::future::Future>::poll::{{closure}}
  10: graceful_recovery::section::__graceful_guarded
             at ./section.rs:90:18
  11: std::panicking::catch_unwind::do_call
  12: main
";

    #[test]
    fn the_panicking_frame_is_first_and_the_runtime_is_gone() {
        let expected = "   0: core::option::Option<T>::unwrap
   1: app::load
             at ./src/app.rs:7:9
   2: app::handler::{{closure}}
             at ./src/app.rs:3:5";
        assert_eq!(trimmed(WHOLE), expected);
    }

    #[test]
    fn without_marks_it_is_printed_whole() {
        let stripped = "   0: <unknown>\n   1: <unknown>\n";
        assert_eq!(trimmed(stripped), stripped.trim_end());
        let no_top = WHOLE.replace("__rust_end_short_backtrace", "renamed");
        assert!(trimmed(&no_top).starts_with("   0: <std::backtrace::Backtrace>::force_capture"));
        let no_bottom = WHOLE.replace("__graceful_guarded", "renamed");
        assert!(trimmed(&no_bottom).ends_with(": main"), "{}", trimmed(&no_bottom));
    }

    #[test]
    fn a_deep_recursion_is_bounded() {
        let deep: String = (0..5000).map(|i| format!("{i:4}: app::recurse\n")).collect();
        let text = trimmed(&deep);
        assert_eq!(text.lines().count(), MAX_FRAMES + 1);
        assert!(text.ends_with("… 4900 more"), "and says so");
    }

    #[test]
    fn nonsense_does_not_panic() {
        for text in [
            "",
            "\n",
            "at nowhere",
            "at a\nat b\n",
            "   0: x\n at a\n at b",
            ": : :",
            "__rust_end_short_backtrace",
            "__graceful_guarded",
        ] {
            let _ = trimmed(text);
        }
    }
}
