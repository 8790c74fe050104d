use std::collections::HashMap;

/// Instructions, in total and by crate.
#[derive(Debug, Default)]
pub struct Profile {
    /// All of them.
    pub total: i64,
    crates: HashMap<String, i64>,
}

impl Profile {
    /// Reads callgrind's format: <https://valgrind.org/docs/manual/cl-format.html>.
    ///
    /// Inlined code counts for the file that it was written in.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut profile = Self::default();
        // A name is written once, `(7) some/file.rs`, and is `(7)` from there on.
        let mut names: HashMap<(&str, &str), &str> = HashMap::new();
        let (mut object, mut file, mut function) = ("", "", "");
        let mut is_call = false;
        for line in text.lines() {
            if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
                // The line behind `calls=` is what the called one has cost, which stands there as well.
                if !std::mem::take(&mut is_call) {
                    let cost: i64 = line.split(' ').nth(1)?.parse().ok()?;
                    *profile.crates.entry(owner(object, file, function)).or_default() += cost;
                }
                continue;
            }
            if let Some(rest) = line.strip_prefix("summary:").or_else(|| line.strip_prefix("totals:")) {
                profile.total = rest.trim().parse().ok()?;
                continue;
            }
            let Some((key, value)) = line.split_once('=') else { continue };
            let mut name = |kind: &'static str| {
                let (id, name) = value.split_once(' ').unwrap_or((value, ""));
                if name.is_empty() {
                    names.get(&(kind, id)).copied().unwrap_or_default()
                } else {
                    names.insert((kind, id), name);
                    name
                }
            };
            match key {
                "ob" => object = name("ob"),
                "fl" | "fi" | "fe" => file = name("fl"),
                "fn" => function = name("fn"),
                "calls" => is_call = true,
                "cob" => _ = name("ob"),
                "cfi" | "cfl" => _ = name("fl"),
                "cfn" => _ = name("fn"),
                _ => {}
            }
        }
        (profile.total > 0).then_some(profile)
    }

    /// What is more than in `other`, divided by `by`.
    #[must_use]
    pub fn less(mut self, other: &Self, by: i64) -> Self {
        self.total = (self.total - other.total) / by;
        for (name, count) in &mut self.crates {
            *count = (*count - other.crates.get(name).copied().unwrap_or_default()) / by;
        }
        self
    }

    /// The crates that cost at least ten, the dearest first.
    #[must_use]
    pub fn by_crate(&self) -> Vec<(&str, i64)> {
        let mut rows: Vec<_> = self.crates.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        rows.retain(|(_, count)| *count >= 10);
        rows.sort_by_key(|(name, count)| (-count, *name));
        rows
    }
}

/// Whose the source file is.
fn owner(object: &str, file: &str, function: &str) -> String {
    let after = |marker: &str| file.split_once(marker).map(|(_, rest)| rest);
    let first = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
    if let Some(package) = after("/registry/src/").and_then(|rest| rest.split('/').nth(1)) {
        return without_version(package).to_owned();
    }
    if let Some(path) = after("/rust/deps/") {
        return format!("std: {}", without_version(&first(path)));
    }
    if let Some(path) = after("/library/") {
        return format!("std: {}", first(path));
    }
    if object.contains("/libc") || object.contains("/ld-linux") {
        let function = function.trim_start_matches('_');
        let is = |parts: &[&str]| parts.iter().any(|part| function.contains(part));
        let what = if is(&["alloc", "free", "tcache", "unlink_chunk"]) {
            "malloc"
        } else if function.starts_with("mem") || function.starts_with("str") {
            "mem*"
        } else {
            "other"
        };
        return format!("libc: {what}");
    }
    // A crate of this workspace: `crates/timeout/src/future.rs`.
    match file.split_once("/src/").map(|(path, _)| path.rsplit('/').next().unwrap_or(path)) {
        Some(package) => format!("ours: {package}"),
        None => "?".to_owned(),
    }
}

/// `hyper-util-0.1.21` is `hyper-util`.
fn without_version(package: &str) -> &str {
    let digit = |rest: &str| rest.starts_with(|first: char| first.is_ascii_digit());
    package.match_indices('-').find(|(at, _)| digit(&package[at + 1..])).map_or(package, |(at, _)| &package[..at])
}
