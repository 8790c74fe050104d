use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use tracing::{
    Metadata, Subscriber,
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
    subscriber::Interest,
};
use tracing_subscriber::{
    EnvFilter, Layer,
    layer::{Context, Filter},
};

/// Which events and spans there are: a filter that can be changed while the program runs.
///
/// It reads what [`EnvFilter`] reads: `info`, `warn,my_crate=debug`, `my_crate[request]=trace`. But it takes no word that
/// is no level for the name of a crate: `inof` is an error, and does not silently log nothing.
///
/// A [`Layer`] that filters for all layers of a registry, and a [`Filter`] for one of them
/// ([`with_filter`](Layer::with_filter)). Clones are the same filter.
///
/// # What it costs
///
/// An event of a level that no part of the filter lets through costs one load and a comparison: `tracing` keeps the
/// highest level of all. One that only its target turns off costs a second load. What is let through is not asked about
/// again either; there is no lock on its way, as there is in `tracing_subscriber::reload`. With a part in brackets it is
/// otherwise: then spans decide, and each event of a level that a span could let through asks.
#[derive(Clone)]
pub struct LiveFilter {
    state: Arc<State>,
}

struct State {
    filter: RwLock<Arc<EnvFilter>>,
    /// Whether spans matter to the filter. Else it need not hear of them.
    asks_spans: AtomicBool,
}

/// A filter that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    part: String,
}

impl LiveFilter {
    /// The filter that `directives` say.
    ///
    /// # Errors
    ///
    /// If one of the parts between the commas is neither a level nor `target=level` nor has its brackets in order.
    pub fn new(directives: &str) -> Result<Self, FilterError> {
        let filter = parse(directives)?;
        let asks_spans = AtomicBool::new(asks_spans(directives));
        Ok(Self { state: Arc::new(State { filter: RwLock::new(Arc::new(filter)), asks_spans }) })
    }

    /// Changes the filter, for this one and all its clones, at once and for every thread.
    ///
    /// It walks through all places that log: for operators, not for requests. Spans that are open stay as they were
    /// begun: a part in brackets counts for those that begin from now on.
    ///
    /// # Errors
    ///
    /// As of [`new`](Self::new). The filter then stays as it is.
    pub fn set(&self, directives: &str) -> Result<(), FilterError> {
        let filter = Arc::new(parse(directives)?);
        let mut current = self.state.filter.write().unwrap_or_else(PoisonError::into_inner);
        *current = filter;
        // Under the lock: of two that are set at once, both are of the same one.
        self.state.asks_spans.store(asks_spans(directives), Relaxed);
        drop(current);
        tracing::callsite::rebuild_interest_cache();
        Ok(())
    }

    /// Out of the lock: the filter may look at values, and a `Debug` of the user's may log.
    fn filter(&self) -> Arc<EnvFilter> {
        Arc::clone(&self.state.filter.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells the filter of what a span does, if spans matter to it.
    #[inline(always)]
    fn tell(&self, of_span: impl FnOnce(&EnvFilter)) {
        /// Apart, so that a span which nobody asks about saves no registers for it.
        #[cold]
        #[inline(never)]
        fn tell(filter: &LiveFilter, of_span: impl FnOnce(&EnvFilter)) {
            of_span(&filter.filter());
        }
        if self.asks_spans() {
            tell(self, of_span);
        }
    }

    /// Whether spans matter to it at present.
    #[inline(always)]
    pub(crate) fn asks_spans(&self) -> bool {
        self.state.asks_spans.load(Relaxed)
    }

    fn interest<S>(&self, metadata: &'static Metadata<'static>) -> Interest {
        Filter::<S>::callsite_enabled(&*self.filter(), metadata)
    }
}

impl<S: Subscriber> Layer<S> for LiveFilter {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        self.interest::<S>(metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        self.filter().enabled(metadata, context)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.filter().max_level_hint()
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.tell(|filter| filter.on_new_span(attributes, id, context));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.tell(|filter| filter.on_record(id, values, context));
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        self.tell(|filter| filter.on_enter(id, context));
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        self.tell(|filter| filter.on_exit(id, context));
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.tell(|filter| filter.on_close(id, context));
    }
}

impl<S> Filter<S> for LiveFilter {
    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        self.interest::<S>(metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: &Context<'_, S>) -> bool {
        Filter::enabled(&*self.filter(), metadata, context)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.filter().max_level_hint()
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.tell(|filter| filter.on_new_span(attributes, id, context));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.tell(|filter| filter.on_record(id, values, context));
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        self.tell(|filter| filter.on_enter(id, context));
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        self.tell(|filter| filter.on_exit(id, context));
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.tell(|filter| filter.on_close(id, context));
    }
}

impl fmt::Debug for LiveFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LiveFilter").field(&self.to_string()).finish()
    }
}

/// The directives, as [`LiveFilter::set`] reads them.
impl fmt::Display for LiveFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&*self.filter(), f)
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no log level: write a level such as info, or my_crate=debug", self.part)
    }
}

impl std::error::Error for FilterError {}

/// A directive without a bracket is about targets only, which each place in the code has but one of.
fn asks_spans(directives: &str) -> bool {
    directives.contains('[')
}

fn parse(directives: &str) -> Result<EnvFilter, FilterError> {
    let wrong = |part: &str| FilterError { part: part.into() };
    let parts: Vec<_> = directives.split(',').map(str::trim).collect();
    for part in &parts {
        let is_level = |level: &str| level.parse::<LevelFilter>().is_ok() && !level.is_empty();
        // A span without a level, `[request]`, has all of them.
        let good = match part.rsplit_once(['=', ']']) {
            Some((_, "")) => part.ends_with(']'),
            Some((target, level)) => !target.is_empty() && is_level(level),
            None => is_level(part),
        };
        let target = part.split(['=', '[']).next().unwrap_or_default();
        if !good || target.contains(char::is_whitespace) {
            return Err(wrong(part));
        }
    }
    // Without the spaces around them, which `EnvFilter` takes for a part of a name: ` info` would be a target.
    EnvFilter::builder().parse(parts.join(",")).map_err(|_| wrong(directives))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_is_no_filter() {
        for good in [
            "info",
            "warn,my_crate=debug",
            "off",
            "my_crate[request]=trace",
            "my_crate[request]",
            "[request{method=\"GET\"}]=debug,info",
            "my_crate=off, info",
            "3",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in [
            "inof",
            "",
            "info,",
            "my_crate=",
            "=info",
            "my_crate=loud",
            "my_crate=debug=inof",
            "[request",
            "a]=x",
            "my_crate =debug",
            "info my_crate=debug",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn spaces_between_the_parts_mean_nothing() {
        for spaced in [" warn ,my_crate=debug", "warn, my_crate=debug", "my_crate=debug\n,warn\n"] {
            assert_eq!(parse(spaced).map(|filter| filter.to_string()), Ok("my_crate=debug,warn".into()), "{spaced:?}");
        }
    }

    #[test]
    fn a_filter_can_be_read_back() {
        let filter = LiveFilter::new("warn,my_crate=debug").unwrap();
        let again = LiveFilter::new(&filter.to_string()).unwrap();
        assert_eq!(filter.to_string(), again.to_string());
        assert!(filter.set("inof").is_err());
        assert_eq!(filter.to_string(), again.to_string(), "a filter that cannot be read changes nothing");
    }
}
