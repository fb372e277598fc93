//! An oracle of the counting core: what must be counted follows from a hidden truth, never from matching bodies.
//!
//! `world` makes the truth, `timeline` what reaches the exporter of it, `expectation` what must be counted, and `run`
//! holds the core against that. `narrowed` does the same for tasks of which only some files are followed; `noise`
//! needs no truth: it shows bodies that nothing real stands behind.

mod expectation;
mod narrowed;
mod noise;
mod run;
mod timeline;
mod world;

use proptest::prelude::*;

proptest! {
    #[test]
    fn what_is_counted_is_what_truly_happened(world in world::world(), steps in timeline::steps()) {
        run::Run::new(&world, true).through(&steps)?;
    }

    #[test]
    fn entries_that_vanish_never_cost_or_add_a_failure(world in world::world(), steps in timeline::steps()) {
        run::Run::new(&world, false).through(&steps)?;
    }

    #[test]
    fn a_task_of_distinct_files_is_counted_to_the_microsecond(
        world in world::plain_world(),
        steps in timeline::steps(),
    ) {
        run::Run::new(&world, true).through(&steps)?;
    }
}
