use std::{
    borrow::Cow,
    fmt::{self, Display},
    time::Duration,
};

use crate::Cause;

/// How a shutdown went: one [`Step`] after the other, each with those who were late.
///
/// [`Shutdown::run_phases`](crate::Shutdown::run_phases) gives one of its phases. A server puts its own steps in front:
///
/// ```
/// use std::time::Duration;
/// use graceful_shutdown::{Budget, Late, Report, Shutdown, Sig, Step, Why};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # let shutdown = Shutdown::new(); shutdown.trigger_with(Sig::Term);
/// let mut report = Report::new(shutdown.cause().cloned());
/// let mut step = Step::new("connections");
/// step.took = Duration::from_secs(20);
/// step.finished = 63;
/// step.late.push(
///     Late::new("request", Why::Deadline)
///         .with("method", "GET")
///         .with("route", "/slow")
///         .with("peer", "192.0.2.1:5000")
///         .age(Duration::from_secs(25))
///         .place("sleep at shop::slow at src/shop.rs:7"),
/// );
/// report.push(step);
/// report.append(shutdown.run_phases(Budget::new(Duration::from_secs(30))).await);
///
/// assert!(!report.is_clean());
/// assert_eq!(
///     report.to_string(),
///     "shutdown (SIGTERM) forced in 20.0s: connections 20.0s, 63 finished, 1 late \
///      [request method=GET route=/slow peer=192.0.2.1:5000 age=25.0s \
///      place='sleep at shop::slow at src/shop.rs:7': at the deadline]"
/// );
/// # }
/// ```
///
/// `{}` is one line, for a log; `{:#}` has a line for each step and each late one. Both show at most ten of a step's late
/// ones, and how many more there are; [`late`](Self::late) gives all.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    cause: Option<Cause>,
    steps: Vec<Step>,
}

/// A part of the shutdown: what it took, and who did not make it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Step {
    /// As `connections`, or a phase's name.
    pub name: Cow<'static, str>,
    /// How long it took.
    pub took: Duration,
    /// How many ended by themselves.
    pub finished: usize,
    /// Those that did not.
    pub late: Vec<Late>,
}

/// Someone who did not end by itself.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Late {
    /// A hook's name, or what kind of thing it is, as `request`.
    pub what: String,
    /// What else is known of it, as peer, method, route, in order.
    pub details: Vec<(&'static str, String)>,
    /// How old it was.
    pub age: Option<Duration>,
    /// What it did, and where, as `sleep at shop::slow at src/shop.rs:7`; `None` if that is not known.
    pub place: Option<String>,
    /// What ended it.
    pub why: Why,
}

/// What ended that which did not end by itself.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Why {
    /// Its time was up.
    Deadline,
    /// Force was used, as by a second signal.
    Forced,
    /// It panicked, with these words.
    Panicked(String),
}

impl Report {
    /// A report without a step yet.
    #[must_use]
    pub fn new(cause: impl Into<Option<Cause>>) -> Self {
        Self { cause: cause.into(), steps: Vec::new() }
    }

    /// Adds the step that came next.
    pub fn push(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// Adds all steps of another report. Its cause counts if this one has none.
    pub fn append(&mut self, other: Self) {
        let Self { cause, steps } = other;
        self.steps.extend(steps);
        self.cause = self.cause.take().or(cause);
    }

    /// Why the shutdown began, if it did.
    #[must_use]
    pub const fn cause(&self) -> Option<&Cause> {
        self.cause.as_ref()
    }

    /// The steps, in order.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// All who were late, in order, with the step that they were late in.
    pub fn late(&self) -> impl Iterator<Item = (&Step, &Late)> {
        self.steps.iter().flat_map(|step| step.late.iter().map(move |late| (step, late)))
    }

    /// How long it took: the sum of the steps, which come one after the other.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.steps.iter().map(|step| step.took).sum()
    }

    /// Whether all ended by themselves, and without a panic.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.late().next().is_none()
    }

    /// Whether anything was cut off, at its deadline or by force.
    #[must_use]
    pub fn is_forced(&self) -> bool {
        self.late().any(|(_, late)| matches!(late.why, Why::Deadline | Why::Forced))
    }
}

impl Step {
    /// A step that took no time and in which nothing happened yet.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}

impl Late {
    /// Someone who did not end by itself.
    pub fn new(what: impl Into<String>, why: Why) -> Self {
        Self { what: what.into(), details: Vec::new(), age: None, place: None, why }
    }

    /// Adds what else is known of it.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Display) -> Self {
        self.details.push((name, value.to_string()));
        self
    }

    /// Says how old it was.
    #[must_use]
    pub fn age(self, age: Duration) -> Self {
        Self { age: Some(age), ..self }
    }

    /// Says what it did, and where.
    #[must_use]
    pub fn place(self, place: impl Into<String>) -> Self {
        Self { place: Some(place.into()), ..self }
    }

    /// What else is known of it: the first detail of this name.
    #[must_use]
    pub fn detail(&self, name: &str) -> Option<&str> {
        self.details.iter().find(|detail| detail.0 == name).map(|detail| detail.1.as_str())
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("shutdown ")?;
        if let Some(cause) = &self.cause {
            write!(f, "({}) ", escaped(&cause.to_string()))?;
        }
        let how = match (self.is_clean(), self.is_forced()) {
            (true, _) => "clean",
            (_, true) => "forced",
            _ => "with a panic",
        };
        write!(f, "{how} in {:.1?}", self.took())?;
        for (i, step) in self.steps.iter().enumerate() {
            match (f.alternate(), i) {
                (true, _) => write!(f, "\n  {step:#}")?,
                (false, 0) => write!(f, ": {step}")?,
                (false, _) => write!(f, "; {step}")?,
            }
        }
        Ok(())
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, took, finished, late } = self;
        write!(f, "{name} {took:.1?}, {finished} finished")?;
        if late.is_empty() {
            return Ok(());
        }
        write!(f, ", {} late", late.len())?;
        let (shown, more) = late.split_at(late.len().min(SHOWN));
        let (open, between, close) = if f.alternate() { ("\n    ", "\n    ", "") } else { (" [", ", ", "]") };
        for (i, late) in shown.iter().enumerate() {
            write!(f, "{}{late}", if i == 0 { open } else { between })?;
        }
        if !more.is_empty() {
            write!(f, "{between}and {} more", more.len())?;
        }
        f.write_str(close)
    }
}

impl Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, details, age, place, why } = self;
        f.write_str(&escaped(what))?;
        for (name, value) in details {
            write!(f, " {name}={}", escaped(value))?;
        }
        if let Some(age) = age {
            write!(f, " age={age:.1?}")?;
        }
        if let Some(place) = place {
            write!(f, " place='{}'", escaped(place))?;
        }
        write!(f, ": {why}")
    }
}

impl Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadline => f.write_str("at the deadline"),
            Self::Forced => f.write_str("forced"),
            Self::Panicked(panic) => write!(f, "panicked with '{}'", escaped(panic)),
        }
    }
}

/// Control characters as `\n`: a line of a log stays one line, whatever a client or a panic had to say.
fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect::<String>().into()
}

const SHOWN: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sig;

    fn step(name: &'static str, millis: u64, finished: usize, late: Vec<Late>) -> Step {
        Step { name: name.into(), took: Duration::from_millis(millis), finished, late }
    }

    #[test]
    fn a_clean_end_is_one_line() {
        let mut report = Report::new(Cause::Signal(Sig::Term));
        report.push(step("connections", 1100, 63, vec![]));
        report.push(step("workers", 10, 1, vec![]));
        assert!(report.is_clean() && !report.is_forced());
        assert_eq!(
            report.to_string(),
            "shutdown (SIGTERM) clean in 1.1s: connections 1.1s, 63 finished; workers 10.0ms, 1 finished"
        );
        assert_eq!(Report::default().to_string(), "shutdown clean in 0.0ns", "nothing to do is clean too");
    }

    #[test]
    fn a_forced_end_names_the_late() {
        let mut report = Report::new(None);
        let slow = Late::new("request", Why::Deadline).with("route", "/slow").age(Duration::from_secs(25));
        report.push(step("connections", 20_000, 62, vec![slow]));
        let mut phases = Report::new(Cause::from("config changed"));
        phases.push(step("workers", 5, 0, vec![Late::new("queue", Why::Forced), Late::new("mail", Why::Forced)]));
        report.append(phases);
        assert!(!report.is_clean() && report.is_forced());
        assert_eq!(report.cause(), Some(&Cause::from("config changed")));
        assert_eq!(
            report.to_string(),
            "shutdown (config changed) forced in 20.0s: \
             connections 20.0s, 62 finished, 1 late [request route=/slow age=25.0s: at the deadline]; \
             workers 5.0ms, 0 finished, 2 late [queue: forced, mail: forced]"
        );
        assert_eq!(
            format!("{report:#}"),
            "shutdown (config changed) forced in 20.0s\n  \
               connections 20.0s, 62 finished, 1 late\n    \
                 request route=/slow age=25.0s: at the deadline\n  \
               workers 5.0ms, 0 finished, 2 late\n    \
                 queue: forced\n    \
                 mail: forced"
        );
        let late: Vec<_> = report.late().map(|(step, late)| (&*step.name, &*late.what)).collect();
        assert_eq!(late, [("connections", "request"), ("workers", "queue"), ("workers", "mail")]);
    }

    #[test]
    fn what_is_known_of_a_late_one_can_be_asked_for() {
        let late = Late::new("request", Why::Deadline).with("route", "/users/{id}").place("sleep at main.rs:7");
        assert_eq!(late.detail("route"), Some("/users/{id}"));
        assert_eq!(late.detail("peer"), None);
        assert_eq!(late.to_string(), "request route=/users/{id} place='sleep at main.rs:7': at the deadline");
    }

    #[test]
    fn a_panic_is_not_clean_and_not_forced() {
        let mut report = Report::new(None);
        report.push(step("workers", 1, 0, vec![Late::new("queue", Why::Panicked("a\nb".into()))]));
        assert!(!report.is_clean() && !report.is_forced());
        assert_eq!(
            report.to_string(),
            r"shutdown with a panic in 1.0ms: workers 1.0ms, 0 finished, 1 late [queue: panicked with 'a\nb']",
            "and its words do not break the line"
        );
    }

    #[test]
    fn a_thousand_late_ones_do_not_fill_the_log() {
        let mut report = Report::new(None);
        let late = (0..1000).map(|i| Late::new(format!("c{i}"), Why::Deadline)).collect();
        report.push(step("connections", 1, 0, late));
        for text in [report.to_string(), format!("{report:#}")] {
            assert!(text.contains("c9: ") && !text.contains("c10: "), "ten are named: {text}");
            assert!(text.contains("1000 late") && text.contains("and 990 more"), "the others are counted: {text}");
        }
        assert_eq!(report.late().count(), 1000, "the report has them all");
    }
}
