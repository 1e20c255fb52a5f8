//! Weights that come close to time.
//!
//! The *rate* of a guest is what it pays for a second, in units of their promised time: at a rate of
//! 1 it pays for its time, at 1/2 the machine's owner spends twice what is paid. Everything here is
//! about logarithms of rates: half and twice the time are equally wrong.
//!
//! Weights are found in two steps. First each is *measured*: micro-kernels that keep the machine busy
//! with one thing should pay for just their time. What such a guest takes is not what ordinary work
//! takes, though, which shares the machine between many things at once, is mispredicted, and waits
//! for memory. So then the weights are *fitted*: kernels should pay for their time, and none be far
//! from it; guests that do one thing may pay more, but not much less; and every weight is pulled
//! towards the measured one, which decides wherever kernels say nothing.
//!
//! A guest whose operators each wait for the one before takes up to ten times as long as the same
//! operators side by side, and no weights can be fair to both. Such guests are brought as far up as
//! the kernels allow.

use serde::{Deserialize, Serialize};

use crate::stats::geometric_mean;

/// What a kernel's rate other than 1 counts, and one outside of this band, whose ends are closer than
/// kernels have to be: the next measurement, and the next machine, find other rates.
const KERNEL: f64 = 1.0;
const BAND: [f64; 2] = [0.66, 1.52];
const OUTSIDE: f64 = 1e4;
/// What it counts when kernels do not have a rate of 1 in the geometric mean: that is what all other
/// rates are held against.
const TYPICAL: f64 = 1e4;
/// What a busy guest's rate below this counts: a half of what kernels pay on average, and some room.
const BUSY: f64 = 0.53;
const HARM: f64 = 1e4;
/// What a waiting guest's rate below this counts.
const WAITING: f64 = 0.08;
const WAIT: f64 = 10.0;
/// What a weight other than the measured one counts.
const PULL: f64 = 0.1;
/// What a measured weight counts that is other than this part of all that the cheapest guest with it
/// could pay: of operators that only occur together, none is to have all of the price.
const DOUBT: f64 = 0.01;
const PART: f64 = 0.5;
/// The most times that a weight may be the measured one.
const TIMES: f64 = 20.0;
/// The least weight; and the most.
const LEAST: f64 = 1.0;
const MOST: f64 = tallymill_meter::MAX_WEIGHT as f64;
/// Steps of the search at most, and the damping at which it gives up.
const STEPS: usize = 2_000;
const STUCK: f64 = 1e9;

/// What a guest stands for in the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    /// Ordinary work.
    Kernel,
    /// As much as the machine can do of one thing.
    Busy,
    /// Chains, and branches that nobody can foresee.
    Waiting,
    /// The kernels on average; no guest is that.
    Typical,
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

/// Finds weights in units of `unit` seconds for these samples.
pub(crate) fn fit(samples: &[Sample], unit: f64) -> Vec<u32> {
    let measured = measured(samples, unit);
    let mut search = Search::new(samples, unit, fitted_loss, PULL, &measured);
    search
        .most
        .iter_mut()
        .zip(&measured)
        .for_each(|(most, weight)| *most = most.min(weight * TIMES));
    search.descend();
    search.round();
    search.weights.into_iter().map(whole).collect()
}

/// What the busy guests alone say every weight is.
fn measured(samples: &[Sample], unit: f64) -> Vec<f64> {
    let parts = samples.first().map_or(0, |sample| sample.counts.len());
    let busy = || samples.iter().filter(|sample| sample.role == Role::Busy);
    let all = |at: usize| {
        let all = busy().map(|sample| sample.seconds / unit / sample.counts[at]);
        all.filter(|units| *units < MOST).reduce(f64::min).unwrap_or(LEAST)
    };
    let guess: Vec<f64> = (0..parts).map(|at| (PART * all(at)).max(LEAST)).collect();
    let mut search = Search::new(samples, unit, measured_loss, DOUBT, &guess);
    search.descend();
    search.weights
}

/// What a row adds to the loss, by the logarithm of its rate: the loss itself, half of its slope, and
/// half of its curvature.
type Loss = [f64; 3];

/// The loss of being off by so much.
fn square(counts: f64, off: f64) -> Loss {
    [counts * off * off, counts * off, if off == 0.0 { 0.0 } else { counts }]
}

fn measured_loss(role: Role, log: f64) -> Loss {
    if role == Role::Busy { square(1.0, log) } else { Loss::default() }
}

fn fitted_loss(role: Role, log: f64) -> Loss {
    let below = |least: f64| (log - least.ln()).min(0.0);
    match role {
        Role::Kernel => {
            let within = log.clamp(BAND[0].ln(), BAND[1].ln());
            let [all, outside] = [square(KERNEL, log), square(OUTSIDE, log - within)];
            std::array::from_fn(|at| all[at] + outside[at])
        }
        Role::Busy => square(HARM, below(BUSY)),
        Role::Waiting => square(WAIT, below(WAITING)),
        Role::Typical => square(TYPICAL, log),
    }
}

/// The nearest whole number of units.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is cut to fit")]
fn whole(units: f64) -> u32 {
    units.round().clamp(LEAST, MOST) as u32
}

/// A guest: by how much each weight raises its rate.
struct Row {
    role: Role,
    factors: Vec<f64>,
}

/// Weights on their way to the least loss.
struct Search<'a> {
    rows: Vec<Row>,
    loss: fn(Role, f64) -> Loss,
    /// Where every weight is pulled to, and how strongly.
    prior: &'a [f64],
    pull: f64,
    weights: Vec<f64>,
    /// What each may be at most.
    most: Vec<f64>,
}

/// Half of the slope and of the curvature of the loss, by the logarithms of the weights.
struct Slopes {
    slope: Vec<f64>,
    curve: Vec<Vec<f64>>,
}

impl Row {
    fn rate(&self, weights: &[f64]) -> f64 {
        self.factors.iter().zip(weights).map(|(factor, weight)| factor * weight).sum()
    }

    /// What part of the rate each weight makes.
    fn shares(&self, weights: &[f64]) -> Vec<f64> {
        let rate = self.rate(weights);
        self.factors.iter().zip(weights).map(|(factor, weight)| factor * weight / rate).collect()
    }
}

impl Slopes {
    fn new(parts: usize) -> Self {
        Self { slope: vec![0.0; parts], curve: vec![vec![0.0; parts]; parts] }
    }

    /// Adds those of a rate of which each weight has this share.
    fn add(&mut self, [_, steep, bend]: Loss, shares: &[f64]) {
        for (at, share) in shares.iter().enumerate().filter(|(_, share)| **share != 0.0) {
            self.slope[at] += steep * share;
            for (sum, other) in self.curve[at].iter_mut().zip(shares) {
                *sum += bend * share * other;
            }
        }
    }
}

impl<'a> Search<'a> {
    fn new(
        samples: &[Sample],
        unit: f64,
        loss: fn(Role, f64) -> Loss,
        pull: f64,
        prior: &'a [f64],
    ) -> Self {
        let row = |sample: &Sample| Row {
            role: sample.role,
            factors: sample.counts.iter().map(|count| count * unit / sample.seconds).collect(),
        };
        let rows = samples.iter().map(row).collect();
        Self { rows, loss, prior, pull, weights: prior.to_vec(), most: vec![MOST; prior.len()] }
    }

    fn kernels(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.role == Role::Kernel)
    }

    /// What kernels pay for a second on average, as a logarithm.
    fn typical(&self, weights: &[f64]) -> f64 {
        geometric_mean(self.kernels().map(|row| row.rate(weights))).ln()
    }

    fn total(&self, weights: &[f64]) -> f64 {
        let of_row = |row: &Row| (self.loss)(row.role, row.rate(weights).ln())[0];
        let off = |(weight, prior): (&f64, &f64)| self.pull * (weight / prior).ln().powi(2);
        self.rows.iter().map(of_row).sum::<f64>()
            + weights.iter().zip(self.prior).map(off).sum::<f64>()
            + (self.loss)(Role::Typical, self.typical(weights))[0]
    }

    /// The slopes of the loss. As in the method of Gauss and Newton, how rates bend is left out of the
    /// curvature.
    fn slopes(&self) -> Slopes {
        let weights = &self.weights;
        let mut slopes = Slopes::new(weights.len());
        for (at, (weight, prior)) in weights.iter().zip(self.prior).enumerate() {
            slopes.slope[at] = self.pull * (weight / prior).ln();
            slopes.curve[at][at] = self.pull;
        }
        for row in &self.rows {
            slopes.add((self.loss)(row.role, row.rate(weights).ln()), &row.shares(weights));
        }
        let mut shares = vec![0.0; weights.len()];
        for row in self.kernels() {
            shares.iter_mut().zip(row.shares(weights)).for_each(|(sum, share)| *sum += share);
        }
        let count = self.kernels().fold(0.0, |count, _| count + 1.0_f64).max(1.0);
        shares.iter_mut().for_each(|share| *share /= count);
        slopes.add((self.loss)(Role::Typical, self.typical(weights)), &shares);
        slopes
    }

    /// Goes to the least loss: steps that would be right if the loss were a parabola, made shorter as
    /// long as they are not (Levenberg 1944, Marquardt 1963).
    fn descend(&mut self) {
        let (mut damping, mut best) = (1.0, self.total(&self.weights));
        for _ in 0..STEPS {
            let next = self.step(damping);
            let loss = self.total(&next);
            if loss < best {
                (self.weights, best, damping) = (next, loss, damping / 3.0);
            } else {
                damping *= 4.0;
            }
            if damping > STUCK {
                break;
            }
        }
    }

    fn step(&self, damping: f64) -> Vec<f64> {
        let Slopes { mut slope, mut curve } = self.slopes();
        for at in 0..slope.len() {
            curve[at][at] += damping * self.pull;
            let weight = self.weights[at];
            if (weight <= LEAST && slope[at] > 0.0) || (weight >= self.most[at] && slope[at] < 0.0)
            {
                // It stays at its bound.
                slope[at] = 0.0;
                curve.iter_mut().for_each(|row| row[at] = 0.0);
                curve[at].fill(0.0);
                curve[at][at] = 1.0;
            }
        }
        let moves = solution(curve, slope);
        let moved =
            |(at, by): (usize, &f64)| (self.weights[at] * (-by).exp()).clamp(LEAST, self.most[at]);
        moves.iter().enumerate().map(moved).collect()
    }

    /// Goes to whole numbers, and on from there by ones.
    fn round(&mut self) {
        self.weights.iter_mut().for_each(|weight| *weight = f64::from(whole(*weight)));
        let mut best = self.total(&self.weights);
        let mut moved = true;
        while moved {
            moved = false;
            for (at, change) in (0..self.weights.len()).flat_map(|at| [(at, 1.0), (at, -1.0)]) {
                let mut next = self.weights.clone();
                next[at] = (next[at] + change).clamp(LEAST, self.most[at].max(LEAST));
                let loss = self.total(&next);
                if loss < best {
                    (self.weights, best, moved) = (next, loss, true);
                }
            }
        }
    }
}

/// Solves a system of equations whose matrix is symmetric and positive: elimination needs no pivots.
fn solution(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Vec<f64> {
    let size = right.len();
    for at in 0..size {
        let row = matrix[at].clone();
        for below in at + 1..size {
            let times = matrix[below][at] / row[at];
            if times != 0.0 {
                let of = matrix[below][at..].iter_mut().zip(&row[at..]);
                of.for_each(|(value, above)| *value -= times * above);
                right[below] -= times * right[at];
            }
        }
    }
    for at in (0..size).rev() {
        let known: f64 = (at + 1..size).map(|later| matrix[at][later] * right[later]).sum();
        right[at] = (right[at] - known) / matrix[at][at];
    }
    right
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::measure::spread;

    const UNIT: f64 = 1e-9;

    /// A guest that takes as many nanoseconds as its operators do.
    fn guest(role: Role, times: &[f64], counts: &[f64]) -> Sample {
        let nanoseconds: f64 = times.iter().zip(counts).map(|(time, count)| time * count).sum();
        Sample { role, seconds: nanoseconds * UNIT, counts: counts.to_vec() }
    }

    fn rates(samples: &[Sample], weights: &[u32]) -> Vec<f64> {
        samples.iter().map(|sample| sample.rate(weights, UNIT)).collect()
    }

    fn near(weights: &[u32], times: &[f64], by: f64) {
        let off = weights.iter().zip(times).map(|(w, time)| (f64::from(*w) / time).ln().abs());
        assert!(off.fold(0.0, f64::max) < by.ln(), "{weights:?} {times:?}");
    }

    #[test]
    fn elimination_solves_systems() {
        let matrix = vec![vec![4.0, 1.0, 0.0], vec![1.0, 3.0, -1.0], vec![0.0, -1.0, 2.0]];
        let found = solution(matrix, vec![6.0, 4.0, 4.0]);
        let off = found.iter().zip([1.0, 2.0, 3.0]).map(|(one, other)| (one - other).abs());
        assert!(off.fold(0.0, f64::max) < 1e-12, "{found:?}");
    }

    #[test]
    fn times_that_add_up_are_found() {
        let times = [5.0, 40.0, 900.0];
        let busy = |counts: &[f64]| guest(Role::Busy, &times, counts);
        let mut samples =
            vec![busy(&[3.0, 0.0, 0.0]), busy(&[3.0, 1.0, 0.0]), busy(&[1.0, 0.0, 1.0])];
        near(&measured(&samples, UNIT).into_iter().map(whole).collect::<Vec<_>>(), &times, 1.2);
        for counts in [[100.0, 1.0, 0.0], [10.0, 10.0, 0.0], [50.0, 1.0, 5.0]] {
            samples.push(guest(Role::Kernel, &times, &counts));
        }
        near(&fit(&samples, UNIT), &times, 1.1);
    }

    #[test]
    fn what_kernels_cannot_tell_apart_stays_as_it_was_measured() {
        let times = [10.0, 60.0];
        let busy = [[8.0, 1.0], [0.0, 4.0]].map(|counts| guest(Role::Busy, &times, &counts));
        // Whoever does the one does the other, in 1.4 times as long.
        let kernel =
            [[10.0, 10.0], [20.0, 20.0]].map(|counts| guest(Role::Kernel, &[14.0, 84.0], &counts));
        let weights = fit(&[busy, kernel].concat(), UNIT);
        near(&weights, &[10.0, 84.0], 1.15);
    }

    #[test]
    fn kernels_that_differ_stay_within_the_band() {
        // The same operators, but one kernel takes four times as long for each, and three others differ.
        let slow = guest(Role::Kernel, &[20.0, 80.0], &[100.0, 20.0]);
        let quick = guest(Role::Kernel, &[5.0, 20.0], &[100.0, 8.0]);
        let busy = [[8.0, 0.0], [2.0, 4.0]].map(|counts| guest(Role::Busy, &[5.0, 20.0], &counts));
        let samples = [vec![slow, quick], busy.to_vec()].concat();
        let weights = fit(&samples, UNIT);
        let all_alike = rates(&samples[..2], &[1, 1]);
        let kernels = rates(&samples[..2], &weights);
        assert!(spread(all_alike.into_iter()) > 3.9);
        assert!(spread(kernels.clone().into_iter()) < 3.0, "{kernels:?} {weights:?}");
        assert!(geometric_mean(kernels).ln().abs() < 0.2);
    }

    #[test]
    fn a_busy_guest_pays_at_least_half() {
        // Among other work the second operator is as good as free; alone it is not.
        let among = [[900.0, 30.0], [500.0, 100.0], [700.0, 10.0]]
            .map(|counts| guest(Role::Kernel, &[4.0, 1.0], &counts));
        let alone = guest(Role::Busy, &[4.0, 30.0], &[2.0, 100.0]);
        let samples =
            [among.to_vec(), vec![alone, guest(Role::Busy, &[4.0, 1.0], &[10.0, 0.0])]].concat();
        let rates = rates(&samples, &fit(&samples, UNIT));
        assert!(rates[3] > 0.5 && spread(rates[..3].iter().copied()) < 3.0, "{rates:?}");
    }

    #[test]
    fn a_waiting_guest_pays_what_kernels_allow() {
        // The kernel does in one nanosecond what the chain needs a hundred for.
        let kernels =
            [[10.0, 90.0], [50.0, 50.0]].map(|counts| guest(Role::Kernel, &[5.0, 10.0], &counts));
        let busy = [[8.0, 0.0], [2.0, 4.0]].map(|counts| guest(Role::Busy, &[5.0, 10.0], &counts));
        let chain = guest(Role::Waiting, &[5.0, 1000.0], &[1.0, 10.0]);
        let samples = [kernels.to_vec(), busy.to_vec(), vec![chain]].concat();
        let rates = rates(&samples, &fit(&samples, UNIT));
        assert!(spread(rates[..2].iter().copied()) < 3.0 && rates[4] < WAITING, "{rates:?}");
    }

    #[test]
    fn weights_keep_their_bounds() {
        // By the kernel both cost a thousand times what they do alone.
        let busy = [[4.0, 0.0], [0.0, 4.0]].map(|counts| guest(Role::Busy, &[8.0, 8.0], &counts));
        let kernel = guest(Role::Kernel, &[8000.0, 8000.0], &[1.0, 1.0]);
        let weights = fit(&[busy.to_vec(), vec![kernel]].concat(), UNIT);
        assert!(weights.iter().all(|weight| f64::from(*weight) <= 8.1 * TIMES), "{weights:?}");
        let free = guest(Role::Busy, &[0.001], &[1.0]);
        assert_eq!(fit(&[free], UNIT), [1]);
    }
}
