use std::{borrow::Cow, collections::HashMap, fmt, panic::Location, time::Duration};

use crate::{Frame, Stack, Thread};

/// All live work of a [`Registry`](crate::Registry), at one moment.
///
/// `{}` is a summary: one line for each group of entries that are at the same place. `{:#}` has them all, as Go prints
/// goroutines.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Dump {
    /// Oldest first.
    pub entries: Vec<Live>,
    /// Tasks of the runtime that the dump was made on which no entry is in: those of plain `tokio::spawn`. `None` outside
    /// of a runtime. A task that has an entry but was not polled yet counts here, unless it was spawned through the
    /// registry.
    pub untracked: Option<usize>,
}

/// A piece of live work.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Live {
    /// As [`Entry::id`](crate::Entry::id).
    pub id: u64,
    /// As [`Kind::name`](crate::Kind::name).
    pub kind: &'static str,
    /// What tells it from others of its kind, rendered; control characters are escaped.
    pub label: String,
    /// What it was started from; that may have ended.
    pub parent: Option<u64>,
    /// Where it was started.
    pub spawned_at: &'static Location<'static>,
    /// Since it was started.
    pub age: Duration,
    /// How often it was polled.
    pub polls: u64,
    /// How long it ran, all polls together.
    pub busy: Duration,
    /// What it does.
    pub state: State,
}

/// What a piece of live work does.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum State {
    /// It was not polled: it has just been started, or it is held by something that does not poll it.
    New,
    /// It is being polled.
    Running {
        /// On which thread, if that still exists.
        thread: Option<Thread>,
        /// For how long. What is above a few milliseconds holds up others.
        since: Duration,
    },
    /// It returned `Pending`.
    Waiting {
        /// For how long.
        since: Duration,
        /// Where.
        waits: Waits,
    },
}

/// Where something waits.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Waits {
    /// It was not asked.
    NotAsked,
    /// It was asked, and not polled in time: its worker is busy, or what it is part of does not poll it at present.
    NoAnswer,
    /// At these places.
    At {
        /// One for each waker that it keeps, as for each branch of a `select!`. None if it keeps no waker: it has woken
        /// itself and is about to run, or nothing will ever wake it.
        stacks: Vec<Stack>,
        /// How many more there are.
        more: usize,
    },
}

/// Entries at the same place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Group {
    /// Their kind.
    pub kind: &'static str,
    /// Where they were started.
    pub spawned_at: &'static Location<'static>,
    /// What they do: `running`, `new`, or what they wait for, as `sleep at shop::submit at src/shop.rs:7`.
    pub does: String,
    /// How many.
    pub count: usize,
    /// The age of the oldest.
    pub oldest: Duration,
}

impl Dump {
    pub(crate) const fn new(entries: Vec<Live>, untracked: Option<usize>) -> Self {
        Self { entries, untracked }
    }

    /// Entries at the same place together, the most numerous first.
    #[must_use]
    pub fn groups(&self) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        let mut known: HashMap<(&str, &Location<'_>, String), usize> = HashMap::new();
        for live in &self.entries {
            // Whatever the thread: they run side by side.
            let does = if let State::Running { .. } = live.state { "running".into() } else { live.state.does() };
            let at = *known.entry((live.kind, live.spawned_at, does)).or_insert_with_key(|(_, _, does)| {
                let Live { kind, spawned_at, .. } = *live;
                groups.push(Group { kind, spawned_at, does: does.clone(), count: 0, oldest: Duration::ZERO });
                groups.len() - 1
            });
            groups[at].count += 1;
            groups[at].oldest = groups[at].oldest.max(live.age);
        }
        groups.sort_by_key(|group| std::cmp::Reverse((group.count, group.oldest)));
        groups
    }

    /// What the entry `id` does, and where, in a line: `sleep at shop::submit at src/shop.rs:7`, `running on worker-1`.
    ///
    /// Where it waits for another entry, it is that one's place; where it could not be asked, that of what is around it.
    /// `None` if that is not known.
    #[must_use]
    pub fn place(&self, id: u64) -> Option<String> {
        let mut live = self.get(id)?;
        // As many as entries can be in one another.
        for _ in 0..16 {
            let stacks = live.state.stacks();
            if !stacks.is_empty() || matches!(live.state, State::Running { .. }) {
                match stacks.iter().find_map(|stack| self.get(stack.into?)) {
                    Some(inner) if live.state.place().is_none() && !inner.state.stacks().is_empty() => live = inner,
                    _ => return Some(live.state.does()),
                }
            } else {
                live = self.get(live.parent?)?;
            }
        }
        None
    }

    /// The entry `id`, if it is among them.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<&Live> {
        self.entries.iter().find(|live| live.id == id)
    }
}

impl State {
    /// For how long it does what it does; `None` if it was not polled.
    #[must_use]
    pub const fn since(&self) -> Option<Duration> {
        match self {
            Self::New => None,
            Self::Running { since, .. } | Self::Waiting { since, .. } => Some(*since),
        }
    }

    /// The places where it waits; empty if that is not known.
    #[must_use]
    pub fn stacks(&self) -> &[Stack] {
        match self {
            Self::Waiting { waits: Waits::At { stacks, .. }, .. } => stacks,
            _ => &[],
        }
    }

    /// The first place where it waits that is not a library's.
    #[must_use]
    pub fn place(&self) -> Option<&Frame> {
        self.stacks().iter().find_map(Stack::place)
    }

    /// In a word or two, as in `[sleep, 5.0s]`.
    #[must_use]
    pub fn word(&self) -> Cow<'static, str> {
        match self {
            Self::New => "new".into(),
            Self::Running { thread: Some(thread), .. } => format!("running on {thread}").into(),
            Self::Running { thread: None, .. } => "running".into(),
            Self::Waiting { waits: Waits::At { stacks, .. }, .. } => {
                // What a library waits for beside it, as a timeout around a handler, says little.
                let mut own = stacks.iter().filter(|stack| stack.place().is_some());
                match (&**stacks, own.next(), own.next()) {
                    ([], ..) => "waiting, keeps no waker".into(),
                    ([one], ..) if one.into.is_some() => "waiting for an entry".into(),
                    ([one], ..) | (_, Some(one), None) => one.waits_for().unwrap_or("waiting").into(),
                    ([_, ..], ..) => "waiting, one of several".into(),
                }
            }
            Self::Waiting { waits: Waits::NoAnswer, .. } => "waiting, no answer".into(),
            Self::Waiting { waits: Waits::NotAsked, .. } => "waiting".into(),
        }
    }

    fn does(&self) -> String {
        match (self, self.place()) {
            (_, Some(place)) => format!("{} at {place}", self.word()),
            (_, None) => self.word().into_owned(),
        }
    }
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} live", self.entries.len())?;
        if let Some(untracked @ 1..) = self.untracked {
            write!(f, ", and {untracked} of plain tokio::spawn")?;
        }
        if f.alternate() {
            self.entries.iter().try_for_each(|live| write!(f, "\n\n{live:#}"))
        } else {
            self.groups().iter().try_for_each(|group| write!(f, "\n{group}"))
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, spawned_at, does, count, oldest } = self;
        write!(f, "{count} {kind}, {does}, oldest {oldest:.1?}, from {spawned_at}")
    }
}

/// `{}` is one line; `{:#}` has the stacks.
impl fmt::Display for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, kind, label, parent, spawned_at, age, polls, busy, state } = self;
        write!(f, "{kind} {id}")?;
        if !label.is_empty() {
            write!(f, " '{label}'")?;
        }
        match state.since() {
            Some(since) => write!(f, " [{}, {since:.1?}]", state.word())?,
            None => write!(f, " [{}]", state.word())?,
        }
        if !f.alternate() {
            if let Some(place) = state.place() {
                write!(f, " at {place}")?;
            }
            return write!(f, ", age {age:.1?}, from {spawned_at}");
        }
        write!(f, " age={age:.1?} polls={polls} busy={busy:.1?}")?;
        if let Some(parent) = parent {
            write!(f, " parent={parent}")?;
        }
        for (i, stack) in state.stacks().iter().enumerate() {
            if i > 0 {
                write!(f, "\n    or {}", stack.waits_for().unwrap_or("waiting"))?;
            }
            write!(f, "{stack}")?;
        }
        if let State::Waiting { waits: Waits::At { more: more @ 1.., .. }, .. } = state {
            write!(f, "\n    or at {more} more places")?;
        }
        write!(f, "\n    from {spawned_at}")
    }
}

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for frame in self.frames.iter().filter(|frame| !frame.is_noise()) {
            write!(f, "\n    {frame}")?;
        }
        match self.into {
            Some(id) => write!(f, "\n    -> {id}"),
            None => Ok(()),
        }
    }
}

/// Control characters as `\n`: a line stays one line, whatever a client sent.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect::<String>().into()
}
