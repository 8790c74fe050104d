/// A server's figures.
pub(crate) struct Row {
    name: &'static str,
    pub(crate) rounds: Vec<Round>,
}

#[derive(Clone, Copy)]
pub(crate) struct Round {
    /// Requests a second.
    pub(crate) rate: f64,
    /// CPU a request, in microseconds.
    pub(crate) cpu: f64,
}

impl Row {
    pub(crate) const fn new(name: &'static str) -> Self {
        Self { name, rounds: Vec::new() }
    }

    fn median(&self, figure: fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(figure).collect())
    }

    fn ratio(&self, other: &Self) -> f64 {
        median(self.rounds.iter().zip(&other.rounds).map(|(one, other)| one.cpu / other.cpu).collect())
    }
}

/// A line each, and the CPU of each over that of those which the others are measured by.
pub(crate) fn print(rows: &[Row]) {
    let bases: Vec<_> = rows.iter().filter(|row| ["hyper", "axum", "tower-http", "Go"].contains(&row.name)).collect();
    print!("{:12} {:>12} {:>16}", "", "requests/s", "CPU µs/request");
    for base in &bases {
        print!(" {:>12}", format!("/ {}", base.name));
    }
    println!();
    for row in rows {
        print!("{:12} {:12.0} {:16.2}", row.name, row.median(|round| round.rate), row.median(|round| round.cpu));
        for base in &bases {
            print!(" {:12.2}", row.ratio(base));
        }
        println!();
    }
    println!();
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
