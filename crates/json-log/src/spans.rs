//! The spans that are open: what a line needs of them.
//!
//! They lie in slots that are used again and again, one table for the process, so that an id means the same span to
//! every subscriber. A slot is reached by its index without a lock, and then has one of its own. It knows which
//! generation of its spans it holds, so an id that has outlived its span finds nothing.

use std::{
    cell::{Cell, RefCell},
    num::NonZeroU64,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tracing::{Metadata, span::Id};

use crate::line::{Line, SpanFields};

/// Where a span lies.
struct Slot {
    /// The generation in the upper half, the number of its handles in the lower one. Without a handle it is free.
    state: AtomicU64,
    /// The id of the span around it, to which it is a handle; zero if there is none.
    parent: AtomicU64,
    /// Whether the fields have memory to give back.
    has_memory: AtomicBool,
    span: Mutex<Span>,
}

#[derive(Default)]
struct Span {
    metadata: Option<&'static Metadata<'static>>,
    fields: SpanFields,
}

/// A span with `fields`. The parent is held as long as it is open.
#[inline]
pub(crate) fn open(metadata: &'static Metadata<'static>, parent: Option<Id>, fields: &Line) -> Id {
    let index = Free::take();
    let slot = slot_or_new(index);
    if let Some(parent) = &parent {
        hold(parent);
    }
    let mut span = slot.lock();
    span.metadata = Some(metadata);
    span.fields.set(fields);
    slot.has_memory.store(!span.fields.is_in_place(), Ordering::Relaxed);
    slot.parent.store(parent.map_or(0, |parent| parent.into_u64()), Ordering::Relaxed);
    // The lock orders it.
    let generation = slot.state.load(Ordering::Relaxed) & GENERATION;
    slot.state.store(generation | 1, Ordering::Relaxed);
    Id::from_u64(generation | u64::from(index))
}

/// One handle more.
pub(crate) fn hold(id: &Id) {
    if let Some(slot) = slot(id) {
        // As in `Arc`: whoever makes a handle has one.
        slot.state.fetch_add(1, Ordering::Relaxed);
    }
}

/// What became of a span that has lost a handle.
pub(crate) enum Released {
    Open,
    /// That was the last one. The handle to the parent is now the caller's.
    Closed {
        parent: Option<Id>,
    },
}

/// One handle less.
#[inline]
pub(crate) fn release(id: &Id) -> Released {
    let Some(slot) = slot(id) else { return Released::Open };
    // As in `Arc`: what others did with their handles is done before the last of them closes it.
    if slot.state.fetch_sub(1, Ordering::AcqRel) & HANDLES != 1 {
        return Released::Open;
    }
    // It takes no lock: nobody has a handle any more. Who still looks at it by its id sees it as it was, or the next
    // generation; the span that opens here next takes the lock before it changes anything.
    let parent = slot.parent();
    if slot.has_memory.load(Ordering::Relaxed) {
        slot.lock().fields.clear();
    }
    let next = slot.state.load(Ordering::Relaxed).wrapping_add(ONE_GENERATION);
    // An id is never zero.
    slot.state.store(if next == 0 { ONE_GENERATION } else { next }, Ordering::Relaxed);
    Free::give(index(id));
    Released::Closed { parent }
}

/// Shows the fields of a span, and says what span is around it.
#[inline]
pub(crate) fn visit(id: &Id, show: impl FnOnce(&SpanFields)) -> Option<Id> {
    let slot = slot(id)?;
    let span = slot.lock_of(id)?;
    show(&span.fields);
    slot.parent()
}

/// Adds fields to a span.
pub(crate) fn record(id: &Id, recorded: &Line) {
    let Some(slot) = slot(id) else { return };
    if let Some(mut span) = slot.lock_of(id) {
        span.fields.update(recorded);
        slot.has_memory.store(!span.fields.is_in_place(), Ordering::Relaxed);
    }
}

pub(crate) fn metadata(id: &Id) -> Option<&'static Metadata<'static>> {
    slot(id)?.lock_of(id)?.metadata
}

const GENERATION: u64 = !HANDLES;
const ONE_GENERATION: u64 = 1 << 32;
const HANDLES: u64 = u32::MAX as u64;

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Span> {
        self.span.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` if the span of this id was closed meanwhile.
    #[inline]
    fn lock_of(&self, id: &Id) -> Option<MutexGuard<'_, Span>> {
        let span = self.lock();
        self.is_of(id).then_some(span)
    }

    fn parent(&self) -> Option<Id> {
        NonZeroU64::new(self.parent.load(Ordering::Relaxed)).map(Id::from_non_zero_u64)
    }

    fn is_of(&self, id: &Id) -> bool {
        (self.state.load(Ordering::Relaxed) ^ id.into_u64()) & GENERATION == 0
    }
}

/// Pages, each twice as long as the one before: none is ever moved or given back. There are as many slots as there were
/// spans open at once.
static PAGES: [OnceLock<Box<[Slot]>>; 27] = [const { OnceLock::new() }; 27];

const FIRST_PAGE: usize = 64;

/// Which page an index is on, and where.
fn place(index: u32) -> (usize, usize) {
    let number = index as usize + FIRST_PAGE;
    let page = (number / FIRST_PAGE).ilog2() as usize;
    (page, number - (FIRST_PAGE << page))
}

fn index(id: &Id) -> u32 {
    (id.into_u64() & HANDLES) as u32
}

/// The slot of a span that is open.
#[inline]
fn slot(id: &Id) -> Option<&'static Slot> {
    let (page, at) = place(index(id));
    PAGES.get(page)?.get()?.get(at).filter(|slot| slot.is_of(id))
}

fn slot_or_new(index: u32) -> &'static Slot {
    let (page, at) = place(index);
    let slots = PAGES[page].get_or_init(|| {
        let slot = || Slot {
            state: AtomicU64::new(ONE_GENERATION),
            parent: AtomicU64::new(0),
            has_memory: AtomicBool::new(false),
            span: Mutex::default(),
        };
        std::iter::repeat_with(slot).take(FIRST_PAGE << page).collect()
    });
    &slots[at]
}

/// The indices that are free: some with each thread, the rest with all of them.
#[derive(Default)]
struct Free {
    indices: Vec<u32>,
    /// The first that was never used.
    fresh: u32,
}

thread_local! {
    static NEAR: Near = const { Near { one: Cell::new(None), more: RefCell::new(Vec::new()) } };
}

static FAR: Mutex<Free> = Mutex::new(Free { indices: Vec::new(), fresh: 0 });

/// The free indices of a thread, which it gives back when it ends.
struct Near {
    /// That of the span that ended last, where the next one finds it without a detour.
    one: Cell<Option<u32>>,
    more: RefCell<Vec<u32>>,
}

/// How many indices go between a thread and the others at once; it keeps at most twice as many.
const BATCH: usize = 32;

impl Near {
    #[inline]
    fn take(&self) -> u32 {
        self.one.take().unwrap_or_else(|| self.take_of_more())
    }

    #[cold]
    fn take_of_more(&self) -> u32 {
        let mut more = self.more.borrow_mut();
        more.pop().unwrap_or_else(|| {
            let mut far = Free::far();
            let keep = far.indices.len().saturating_sub(BATCH);
            more.extend(far.indices.drain(keep..));
            more.pop().unwrap_or_else(|| far.fresh())
        })
    }

    #[inline]
    fn give(&self, index: u32) {
        if let Some(before) = self.one.replace(Some(index)) {
            self.give_to_more(before);
        }
    }

    #[cold]
    fn give_to_more(&self, index: u32) {
        let mut more = self.more.borrow_mut();
        if more.len() >= 2 * BATCH {
            Free::far().indices.extend(more.drain(BATCH..));
        }
        more.push(index);
    }
}

impl Free {
    fn take() -> u32 {
        NEAR.try_with(Near::take).unwrap_or_else(|_| {
            let mut far = Self::far();
            far.indices.pop().unwrap_or_else(|| far.fresh())
        })
    }

    fn give(index: u32) {
        if NEAR.try_with(|near| near.give(index)).is_err() {
            Self::far().indices.push(index);
        }
    }

    fn fresh(&mut self) -> u32 {
        // Each has some hundred bytes: the memory ends before the numbers.
        let fresh = self.fresh;
        self.fresh += 1;
        fresh
    }

    fn far() -> MutexGuard<'static, Self> {
        FAR.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Near {
    fn drop(&mut self) {
        let Self { one, more } = self;
        let mut far = Free::far();
        far.indices.append(more.get_mut());
        far.indices.extend(one.take());
    }
}
