//! Weights that come close to time.
//!
//! The *rate* of a guest is what it pays for a second, in units of their promised time: at a rate of
//! 1 it pays for its time, at 1/2 the machine's owner spends twice what is paid. Ordinary kernels
//! should all have about the same rate, around 1. No guest that keeps the machine busy may be below
//! 1/2, whatever operators it is made of. One that makes the machine wait (each operator for the
//! one before it) takes up to twenty times as long as the same operators in ordinary work, and no
//! weights can be fair to both: such guests are brought as far up as the kernels allow.
//!
//! Rates are linear in the weights, so this is a convex problem, and going down one weight after
//! the other finds the best there is.

/// Below this rate a guest that keeps the machine busy harms whoever runs it.
pub(crate) const HARM: f64 = 0.5;
/// What the search aims at for them, to leave room for the errors of measuring.
const BUSY: f64 = 0.6;
/// The band of the kernels' rates that it aims at, and how much a rate outside of it counts against
/// other broken bounds.
const LOW: f64 = 0.66;
const HIGH: f64 = 1.5;
const KERNELS: f64 = 20.0;
/// Least rates of guests that wait, to choose from: the first, and the next as a share of it.
const WAITING: f64 = 0.5;
const LESS: f64 = 0.93;
const CHOICES: usize = 40;
/// How much it counts that a micro-kernel pays more than its time, against a broken bound.
const EXCESS: f64 = 1e-3;
/// The band is held when no kernel is outside by more than this.
const HELD: f64 = 0.1;
/// Sweeps over all weights, at most.
const SWEEPS: u32 = 4000;

/// What a guest stands for in the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Ordinary work.
    Kernel,
    /// As much as the machine can do of one thing.
    Busy,
    /// Chains, and branches that nobody can foresee.
    Waiting,
}

/// A guest that was measured.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// What it stands for.
    pub(crate) role: Role,
    /// CPU time of a run, seconds.
    pub(crate) seconds: f64,
    /// How often it does what has a weight.
    pub(crate) counts: Vec<f64>,
}

impl Sample {
    /// What it pays, in units of `unit` seconds, for the time it takes.
    pub(crate) fn rate(&self, weights: &[u32], unit: f64) -> f64 {
        let fuel: f64 = self.counts.iter().zip(weights).map(|(n, w)| n * f64::from(*w)).sum();
        fuel * unit / self.seconds
    }
}

/// A guest as a row of the problem: its rate is the product with the weights.
struct Row {
    role: Role,
    factors: Vec<f64>,
}

/// The weights under search, and the rate of every row by them.
struct Search<'a> {
    rows: &'a [Row],
    least: &'a [f64],
    weights: Vec<f64>,
    rates: Vec<f64>,
    /// The least rate of guests that wait.
    waiting: f64,
}

/// Finds weights of at least `least`, in units of `unit` seconds, for these samples.
pub(crate) fn fit(samples: &[Sample], least: &[u32], unit: f64) -> Vec<u32> {
    let row = |sample: &Sample| Row {
        role: sample.role,
        factors: sample.counts.iter().map(|count| count * unit / sample.seconds).collect(),
    };
    let rows: Vec<Row> = samples.iter().map(row).collect();
    let least: Vec<f64> = least.iter().map(|weight| f64::from(*weight)).collect();
    let mut search = Search::new(&rows, &least);
    for waiting in std::iter::successors(Some(WAITING), |rate| Some(rate * LESS)).take(CHOICES) {
        search.waiting = waiting;
        if search.settle() <= HELD {
            break;
        }
    }
    search.weights.iter().map(|weight| whole(*weight)).collect()
}

/// The nearest whole number of units.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is cut to fit")]
pub(crate) fn whole(units: f64) -> u32 {
    units.round().clamp(0.0, f64::from(tallymill_meter::MAX_WEIGHT)) as u32
}

impl<'a> Search<'a> {
    fn new(rows: &'a [Row], least: &'a [f64]) -> Self {
        let weights = least.to_vec();
        let product = |row: &Row| row.factors.iter().zip(&weights).map(|(f, w)| f * w).sum();
        let rates = rows.iter().map(product).collect();
        Self { rows, least, weights, rates, waiting: WAITING }
    }

    /// Goes down until nothing moves, and gives by how much the worst kernel is outside the band.
    fn settle(&mut self) -> f64 {
        for _ in 0..SWEEPS {
            let moved = (0..self.weights.len()).map(|at| self.step(at)).fold(0.0, f64::max);
            if moved < 1e-5 {
                break;
            }
        }
        let kernels = self.rows.iter().zip(&self.rates).filter(|(row, _)| row.role == Role::Kernel);
        kernels.map(|(row, rate)| self.beyond(row, *rate).abs()).fold(0.0, f64::max)
    }

    /// How far a rate is outside its bounds: negative below, positive above.
    fn beyond(&self, row: &Row, rate: f64) -> f64 {
        let (low, high) = match row.role {
            Role::Kernel => (LOW, HIGH),
            Role::Busy => (BUSY, f64::INFINITY),
            Role::Waiting => (self.waiting, f64::INFINITY),
        };
        if rate < low { rate - low } else { (rate - high).max(0.0) }
    }

    /// Moves one weight to where the loss is least, all others as they are; gives how far, as a share.
    fn step(&mut self, at: usize) -> f64 {
        let (mut slope, mut curve) = (0.0, 0.0);
        for (row, rate) in self.rows.iter().zip(&self.rates) {
            let factor = row.factors[at];
            let beyond = self.beyond(row, *rate);
            let counts = if row.role == Role::Kernel { KERNELS } else { 1.0 };
            let broken = if beyond == 0.0 { 0.0 } else { counts };
            slope += factor * (beyond * counts + EXCESS * (rate - 1.0));
            curve += factor * factor * (broken + EXCESS);
        }
        if curve == 0.0 {
            return 0.0;
        }
        let old = self.weights[at];
        let new = (old - slope / curve).max(self.least[at]);
        self.weights[at] = new;
        for (row, rate) in self.rows.iter().zip(&mut self.rates) {
            *rate += row.factors[at] * (new - old);
        }
        (new - old).abs() / old.max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: f64 = 1e-9;

    fn sample(role: Role, seconds: f64, counts: &[f64]) -> Sample {
        Sample { role, seconds, counts: counts.to_vec() }
    }

    fn rates(samples: &[Sample]) -> Vec<f64> {
        let weights = fit(samples, &[1, 1], UNIT);
        samples.iter().map(|sample| sample.rate(&weights, UNIT)).collect()
    }

    #[test]
    fn kernels_that_can_pay_alike_do() {
        let times = |a: f64, b: f64| a * 30e-9 + b * 400e-9;
        let kernel = |a, b| sample(Role::Kernel, times(a, b), &[a, b]);
        let rates = rates(&[kernel(100.0, 1.0), kernel(10.0, 10.0), kernel(1.0, 50.0)]);
        assert!(rates.iter().all(|rate| (0.9..1.1).contains(rate)), "{rates:?}");
    }

    #[test]
    fn no_busy_guest_pays_less_than_half() {
        // For the kernel both operators are as good as free; the other guest pays for the second.
        let kernel = sample(Role::Kernel, 1e-6, &[900.0, 1.0]);
        let harm = sample(Role::Busy, 1e-5, &[0.0, 100.0]);
        let rates = rates(&[kernel, harm]);
        assert!(rates[1] > HARM && rates[0] < HIGH + HELD, "{rates:?}");
    }

    #[test]
    fn waiting_guests_pay_what_kernels_allow() {
        // The kernel does in 100 ns what takes the other 10,000.
        let kernel = sample(Role::Kernel, 1e-5, &[0.0, 100.0]);
        let chain = sample(Role::Waiting, 1e-3, &[0.0, 100.0]);
        let rates = rates(&[kernel, chain.clone()]);
        assert!(rates[0] < HIGH + HELD && rates[1] < HARM, "{rates:?}");
        let alone = fit(&[chain], &[1, 1], UNIT);
        assert!(alone[1] >= 4900, "{alone:?}");
    }

    #[test]
    fn weights_stay_above_their_least() {
        let kernel = sample(Role::Kernel, 1e-6, &[10.0, 1000.0]);
        assert!(fit(&[kernel], &[0, 7], UNIT)[1] >= 7);
    }
}
