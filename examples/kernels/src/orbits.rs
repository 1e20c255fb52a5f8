//! The sun and four planets, moved by the symplectic Euler method: square roots, divisions and
//! chains of dependent float operations.

use crate::random::Checksum;

const SOLAR_MASS: f64 = 4.0 * std::f64::consts::PI * std::f64::consts::PI;
const DAYS: f64 = 365.24;
const STEP: f64 = 0.01;

#[derive(Clone, Copy)]
struct Body {
    place: [f64; 3],
    speed: [f64; 3],
    mass: f64,
}

/// Positions in astronomical units, speeds per day, masses of the sun (JPL ephemerides).
const PLANETS: [([f64; 3], [f64; 3], f64); 4] = [
    (
        [4.841_431_442_464_72, -1.160_320_044_027_428_4, -0.103_622_044_471_123_11],
        [0.001_660_076_642_744_037, 0.007_699_011_184_197_404, -0.000_069_046_001_697_206_3],
        0.000_954_791_938_424_326_6,
    ),
    (
        [8.343_366_718_244_58, 4.124_798_564_124_305, -0.403_523_417_114_321_4],
        [-0.002_767_425_107_268_624, 0.004_998_528_012_349_172, 0.000_023_041_729_757_376_393],
        0.000_285_885_980_666_130_8,
    ),
    (
        [12.894_369_562_139_13, -15.111_151_401_698_631, -0.223_307_578_892_655_73],
        [0.002_964_601_375_647_616, 0.002_378_471_739_594_809_5, -0.000_029_658_956_854_023_756],
        0.000_043_662_440_433_515_63,
    ),
    (
        [15.379_697_114_850_917, -25.919_314_609_987_964, 0.179_258_772_950_371_18],
        [0.002_680_677_724_903_893_2, 0.001_628_241_700_382_423, -0.000_095_159_225_451_971_59],
        0.000_051_513_890_204_661_145,
    ),
];

fn system() -> [Body; 5] {
    let mut bodies = [Body { place: [0.0; 3], speed: [0.0; 3], mass: SOLAR_MASS }; 5];
    for (body, (place, speed, mass)) in bodies[1..].iter_mut().zip(PLANETS) {
        *body = Body { place, speed: speed.map(|v| v * DAYS), mass: mass * SOLAR_MASS };
    }
    // The sun moves against the rest, so that the centre of mass stays where it is.
    let drift = [0, 1, 2].map(|axis| bodies.iter().map(|b| b.speed[axis] * b.mass).sum::<f64>());
    bodies[0].speed = drift.map(|momentum| -momentum / SOLAR_MASS);
    bodies
}

fn advance(bodies: &mut [Body; 5]) {
    for first in 0..bodies.len() {
        let (head, tail) = bodies.split_at_mut(first + 1);
        let one = &mut head[first];
        for other in tail {
            let way = [0, 1, 2].map(|axis| one.place[axis] - other.place[axis]);
            let square = way[0] * way[0] + way[1] * way[1] + way[2] * way[2];
            let pull = STEP / (square * square.sqrt());
            for (axis, way) in way.into_iter().enumerate() {
                one.speed[axis] -= way * other.mass * pull;
                other.speed[axis] += way * one.mass * pull;
            }
        }
    }
    for body in bodies {
        for axis in 0..3 {
            body.place[axis] += STEP * body.speed[axis];
        }
    }
}

fn energy(bodies: &[Body; 5]) -> f64 {
    let mut sum = 0.0;
    for (index, one) in bodies.iter().enumerate() {
        sum += 0.5 * one.mass * one.speed.iter().map(|v| v * v).sum::<f64>();
        for other in &bodies[index + 1..] {
            let way = [0, 1, 2].map(|axis| one.place[axis] - other.place[axis]);
            let square = way[0] * way[0] + way[1] * way[1] + way[2] * way[2];
            sum -= one.mass * other.mass / square.sqrt();
        }
    }
    sum
}

/// `steps` steps of a hundredth of a year.
#[inline(never)]
pub(crate) fn nbody(steps: u32) -> u64 {
    let mut bodies = system();
    for _ in 0..steps {
        advance(&mut bodies);
    }
    let mut sum = Checksum::new();
    sum.add_float(energy(&bodies));
    for body in &bodies {
        body.place.iter().for_each(|place| sum.add_float(*place));
    }
    sum.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn energy_is_that_of_the_published_benchmark() {
        let mut bodies = system();
        assert!((energy(&bodies) - -0.169_075_164).abs() < 1e-9);
        for _ in 0..1000 {
            advance(&mut bodies);
        }
        assert!((energy(&bodies) - -0.169_087_605).abs() < 1e-9);
    }
}
