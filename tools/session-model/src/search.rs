//! Breadth-first search over sequences of steps.

use std::{
    collections::{HashSet, VecDeque},
    time::Instant,
};

use super::world::{Action, Broken, Mutant, Prefix, World};

/// A way to a property that does not hold.
#[derive(Debug, Clone)]
pub struct Found {
    /// Which.
    pub broken: Broken,
    /// The shortest way there.
    pub steps: Vec<Action>,
}

/// What a search has seen.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// States that differ.
    pub states: usize,
    /// Steps that were tried.
    pub steps: usize,
    /// Of the states, those in which both peers have the call.
    pub standing: usize,
    /// What was found first, if anything was.
    pub found: Option<Found>,
}

/// Goes through everything that can happen within `depth` steps of a beginning, of which the network does `mischief` with some (see
/// [`World::new`]), until a property does not hold.
///
/// Sessions cannot be copied, by design, so each state is reached anew from the beginning: what happens depends on nothing but the
/// steps.
pub fn search(known: bool, prefix: Prefix, mutant: Option<Mutant>, depth: usize, mischief: u8) -> Report {
    let start = Instant::now();
    let reach = |steps: &[Action]| {
        let mut world = World::new(known, prefix, mutant, mischief, start);
        for &step in steps {
            world.step(step);
        }
        world
    };
    let mut report = Report::default();
    let first = World::new(known, prefix, mutant, mischief, start);
    let mut seen = HashSet::from([first.fingerprint()]);
    let mut queue = VecDeque::from([(Vec::new(), first.actions())]);
    while let Some((steps, actions)) = queue.pop_front() {
        for action in actions {
            let mut steps: Vec<Action> = steps.clone();
            steps.push(action);
            let world = reach(&steps);
            report.steps += 1;
            if let Some(broken) = world.broken() {
                report.found = Some(Found { broken, steps });
                return report;
            }
            if !seen.insert(world.fingerprint()) {
                continue;
            }
            report.standing += usize::from(world.stands());
            if steps.len() < depth {
                queue.push_back((steps, world.actions()));
            }
        }
    }
    report.states = seen.len();
    report
}
