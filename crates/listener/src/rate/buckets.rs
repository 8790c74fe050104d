//! Token buckets, one number each, and the table that forgets the full ones.

use std::{collections::HashMap, mem, net::IpAddr, time::Duration};

/// How a bucket fills.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// A token in so many nanoseconds, at least 1.
    every: u64,
    /// The bucket holds so many, at least 1.
    burst: u32,
}

impl Rule {
    pub(super) fn new(tokens: u32, per: Duration) -> Self {
        let tokens = tokens.max(1);
        Self { every: (nanos(per) / u64::from(tokens)).max(1), burst: tokens }
    }

    pub(super) fn burst(self, tokens: u32) -> Self {
        Self { burst: tokens.max(1), ..self }
    }

    /// The time to fill an empty bucket.
    const fn fill(self) -> u64 {
        self.every.saturating_mul(self.burst as u64)
    }
}

/// What came of asking for a token.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Taken {
    /// One was there.
    Token,
    /// None was there.
    Empty,
    /// There is no bucket for this address, and no room for another.
    Untracked,
}

/// For each address the time at which its bucket will be full: all that a token bucket needs to know (the "theoretical
/// arrival time" of the generic cell rate algorithm). No entry: it is full.
///
/// Two generations take turns, so that nobody ever walks through the table: a bucket that was not touched for the time
/// it takes to fill is full, and a generation as old as that is thrown away as a whole.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    /// Touched since `turned`.
    young: HashMap<IpAddr, u64>,
    /// Touched before, and in no other way than that absent from `young`.
    old: HashMap<IpAddr, u64>,
    turned: u64,
}

impl Buckets {
    /// Takes a token at the time `now`, with at most `most` entries.
    pub(super) fn take(&mut self, key: IpAddr, rule: Rule, now: u64, most: usize) -> Taken {
        let entries = self.len(rule, now);
        let known = self.young.get(&key).or_else(|| self.old.get(&key)).copied();
        let full_at = known.unwrap_or(now).max(now);
        // So far from full that not even one token is in it.
        if full_at - now > rule.fill() - rule.every {
            return Taken::Empty;
        }
        if known.is_none() && entries >= most {
            return Taken::Untracked;
        }
        self.old.remove(&key);
        self.young.insert(key, full_at.saturating_add(rule.every));
        Taken::Token
    }

    /// How many entries there are at the time `now`.
    pub(super) fn len(&mut self, rule: Rule, now: u64) -> usize {
        let age = now.saturating_sub(self.turned);
        if age >= rule.fill() {
            self.old = mem::take(&mut self.young);
            // Nothing was touched in the second half of that time, or the generations had turned then.
            if age / 2 >= rule.fill() {
                self.old = HashMap::new();
            }
            self.turned = now;
        }
        self.young.len() + self.old.len()
    }
}

/// As far as they fit.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    /// What a bucket is by definition, with as many counters as addresses.
    struct Naive(HashMap<IpAddr, (u64, u64)>);

    impl Naive {
        /// In units of a token times `every`, so that nothing is rounded.
        fn take(&mut self, key: IpAddr, rule: Rule, now: u64) -> bool {
            let (level, at) = self.0.entry(key).or_insert((rule.fill(), now));
            *level = (*level + (now - *at)).min(rule.fill());
            *at = now;
            let is_enough = *level >= rule.every;
            if is_enough {
                *level -= rule.every;
            }
            is_enough
        }
    }

    #[test]
    fn it_says_what_plain_buckets_say() {
        for seed in 1..=20u64 {
            let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut next = |below: u64| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random % below
            };
            let rule = Rule { every: 1 + next(50), burst: u32::try_from(1 + next(5)).unwrap() };
            let (mut buckets, mut naive, mut now) = (Buckets::default(), Naive(HashMap::new()), 0);
            for _ in 0..20_000 {
                let pause = if next(20) == 0 { 20 } else { 2 };
                now += next(rule.every * pause);
                let key = key(u32::try_from(next(8)).unwrap());
                let expected = if naive.take(key, rule, now) { Taken::Token } else { Taken::Empty };
                assert_eq!(buckets.take(key, rule, now, usize::MAX), expected, "seed {seed}, {rule:?}, at {now}");
            }
        }
    }

    #[test]
    fn an_address_is_known_once_in_whichever_generation() {
        let rule = Rule::new(10, Duration::from_nanos(1000));
        let mut buckets = Buckets::default();
        for now in (0..10_000).step_by(100) {
            assert_eq!(buckets.take(key(1), rule, now, 1), Taken::Token, "a full table takes no bucket away");
            assert_eq!(buckets.len(rule, now), 1);
            assert_eq!(buckets.take(key(2), rule, now, 1), Taken::Untracked);
        }
    }

    #[test]
    fn an_entry_is_gone_after_twice_the_time_to_fill() {
        let rule = Rule::new(10, Duration::from_nanos(1000));
        let mut buckets = Buckets::default();
        let mut most = 0;
        for n in 0..10_000u32 {
            let now = u64::from(n) * 10;
            assert_eq!(buckets.take(key(n), rule, now, usize::MAX), Taken::Token);
            most = most.max(buckets.len(rule, now));
        }
        // One address in 10 ns, 1,000 ns to fill.
        assert!(most <= 200, "an attack by ever new addresses is forgotten as it goes: {most}");
        assert_eq!(buckets.len(rule, 102_000), 0, "and at the end wholly");
    }
}
