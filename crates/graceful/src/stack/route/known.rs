use std::sync::{Arc, OnceLock};

/// Paths that are the names of their routes, as far as requests have come for them.
///
/// Which route a path goes to depends on the path alone, and a router does not change once it serves. So what was true of
/// one request is true of the next. At most as many come together as the router has routes, whatever clients ask for.
///
/// A table of fixed size that is only ever added to, so that it is read without a lock. A path that finds no place stays
/// unknown, and costs what all of them cost at first.
#[derive(Debug)]
pub(super) struct KnownPaths {
    places: Box<[OnceLock<Arc<str>>]>,
}

/// 24 KiB, for some hundreds of routes.
const PLACES: usize = 1024;

/// How many places a path may lie in.
const TRIES: usize = 4;

/// A longer path is not looked for: a client would choose what that costs.
const LONGEST: usize = 128;

impl KnownPaths {
    pub(super) fn new() -> Self {
        Self { places: std::iter::repeat_with(OnceLock::new).take(PLACES).collect() }
    }

    /// The path's name, which is the same text.
    #[inline]
    pub(super) fn get(&self, path: &str) -> Option<&Arc<str>> {
        if path.len() > LONGEST {
            return None;
        }
        // A place is filled before those behind it, and stays so.
        self.places_of(path).map_while(OnceLock::get).find(|name| ***name == *path)
    }

    /// From now on it is known, if there is a place left.
    pub(super) fn add(&self, name: &Arc<str>) {
        if name.len() <= LONGEST {
            // The first place that is free or has it already, also if two requests add it at once.
            self.places_of(name).any(|place| **place.get_or_init(|| Arc::clone(name)) == **name);
        }
    }

    #[inline]
    fn places_of(&self, path: &str) -> impl Iterator<Item = &OnceLock<Arc<str>>> {
        let first = hash(path.as_bytes());
        (first..first + TRIES).map(|at| &self.places[at % PLACES])
    }
}

/// Spreads the program's own paths, and need not do more: those of clients are only looked for.
#[inline]
fn hash(text: &[u8]) -> usize {
    /// The golden ratio's digits, as in Fibonacci hashing (Knuth, The Art of Computer Programming, volume 3, 6.4).
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = text.as_chunks::<8>();
    let mut tail = [0; 8];
    tail[..rest.len()].copy_from_slice(rest);
    let words = words.iter().chain([&tail]).map(|word| u64::from_le_bytes(*word));
    let hash = words.fold(text.len() as u64, |hash, word| (hash.rotate_left(5) ^ word).wrapping_mul(FACTOR));
    (hash >> 48) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_found_and_nothing_else() {
        let known = KnownPaths::new();
        let names: Vec<Arc<str>> =
            (0..300).map(|number| format!("/api/v{}/thing{number}", number % 7).into()).collect();
        for name in &names {
            assert!(known.get(name).is_none(), "{name} before it was added");
            known.add(name);
        }
        let found = names.iter().filter(|name| known.get(name).is_some_and(|found| Arc::ptr_eq(found, name))).count();
        assert!(found >= 290, "300 names have places in a table of 1,024: {found}");
        for path in ["", "/", "/api/v0/thing", "/api/v0/thing00", "/api/v0/thing7 ", "/API/v0/thing0"] {
            assert!(known.get(path).is_none(), "{path:?} is nobody's name");
        }
    }

    #[test]
    fn a_name_has_one_place_however_often_it_is_added() {
        let known = KnownPaths::new();
        for _ in 0..TRIES {
            known.add(&"/users".into());
        }
        assert_eq!(known.places.iter().filter(|place| place.get().is_some()).count(), 1);
    }

    #[test]
    fn a_full_table_takes_no_more() {
        let known = KnownPaths::new();
        for number in 0..10 * PLACES {
            known.add(&format!("/{number}").into());
        }
        let found = (0..10 * PLACES).filter(|number| known.get(&format!("/{number}")).is_some()).count();
        assert!((PLACES / 2..=PLACES).contains(&found), "{found} names in {PLACES} places");
    }

    #[test]
    fn a_long_path_is_not_known() {
        let known = KnownPaths::new();
        let (longest, longer) = ("/".repeat(LONGEST), "/".repeat(LONGEST + 1));
        known.add(&longest.as_str().into());
        known.add(&longer.as_str().into());
        assert!(known.get(&longest).is_some() && known.get(&longer).is_none(), "the limit is {LONGEST} bytes");
    }
}
