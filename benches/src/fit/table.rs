//! The fitted weights as source of the crate `meter`.

use std::fmt::Write as _;

use super::count::{Part, parts};

/// What calls of host functions cost, in units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hosts {
    /// Any call.
    pub(super) base: u32,
    /// A byte copied into or out of the guest.
    pub(super) copied: u32,
    /// A byte of randomness.
    pub(super) random: u32,
}

/// The file that the meter includes.
///
/// A unit stands for `unit` picoseconds.
pub(super) fn source(weights: &[u32], hosts: Hosts, unit: f64) -> String {
    let of = |wanted: fn(Part) -> Option<String>| {
        let named = parts().into_iter().zip(weights);
        named.filter_map(|(part, weight)| Some((wanted(part)?, *weight))).collect::<Vec<_>>()
    };
    let mut text = format!(
        "//! Weights fitted to time: written by `cargo xtask fit-costs`, not by hand. A unit stands for {unit} ps\n\
         //! of ordinary work on the machine that was measured.\n\n\
         use super::{{Class, Unit}};\n",
    );
    let function = of(|part| (part == Part::Function).then(String::new));
    constant(&mut text, "Entering a function.", "FUNCTION", function.first().map_or(1, |f| f.1));
    let deciding = of(|part| (part == Part::Deciding).then(String::new));
    let deciding = deciding.first().map_or(1, |f| f.1);
    constant(&mut text, "An integer comparison that decides.", "DECIDING", deciding);
    let back = of(|part| (part == Part::Back).then(String::new));
    let back = back.first().map_or(1, |f| f.1);
    constant(&mut text, "A `br_if` to the top of a loop.", "BACK", back);
    let classes = of(|part| match part {
        Part::Class(class) => Some(format!("Class::{class:?}")),
        _ => None,
    });
    list(
        &mut text,
        "Operators by class; those not listed weigh nothing.",
        "CLASSES: [(Class, u32)",
        &classes,
    );
    let units = of(|part| match part {
        Part::Unit(unit) => Some(format!("Unit::{unit:?}")),
        _ => None,
    });
    list(&mut text, "Bytes, pages and elements.", "UNITS: [(Unit, u32)", &units);
    constant(&mut text, "A call of a host function.", "HOST_BASE", hosts.base);
    constant(&mut text, "A byte that a host function copies.", "HOST_COPIED", hosts.copied);
    constant(&mut text, "A byte of randomness.", "HOST_RANDOM", hosts.random);
    text
}

// Writing to a string cannot fail.
fn constant(text: &mut String, about: &str, name: &str, value: u32) {
    let _ = write!(text, "\n/// {about}\npub(super) const {name}: u32 = {value};\n");
}

fn list(text: &mut String, about: &str, name: &str, items: &[(String, u32)]) {
    let _ = write!(text, "\n/// {about}\npub(super) const {name}; {}] = [\n", items.len());
    for (item, weight) in items {
        let _ = writeln!(text, "    ({item}, {weight}),");
    }
    text.push_str("];\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_has_every_weight_once() {
        let weights: Vec<u32> = (1000..).take(parts().len()).collect();
        let text = source(&weights, Hosts { base: 7, copied: 8, random: 9 }, 12.5);
        for weight in &weights {
            assert_eq!(text.matches(&weight.to_string()).count(), 1, "{weight}");
        }
        assert!(text.contains("pub(super) const FUNCTION: u32 = 1000;"));
        assert!(text.contains("    (Class::IntDiv, "));
        assert!(text.contains("    (Unit::TableGrow, "));
        assert!(text.contains("HOST_RANDOM: u32 = 9;"));
        assert!(text.contains("stands for 12.5 ps"));
    }
}
