//! The forms in which the vendor's material shows the status body.

use clap::{Args, ValueEnum};
use rand::rngs::StdRng;
use rand::{Rng, RngExt};

/// The form of the status body. Without any of these it is the one that the official clients read.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Form of the simulated answers")]
pub struct StyleOptions {
    /// Draw all of the following anew for every answer.
    #[arg(long)]
    pub mixed: bool,

    /// The form of every answer unless they are mixed.
    #[command(flatten)]
    pub fixed: Style,
}

/// The form of one status body.
#[derive(Args, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Form of the simulated answers")]
pub struct Style {
    /// Answer the bare body, without {"data": ...} around it.
    #[arg(long)]
    pub bare: bool,

    /// Write states in upper case.
    #[arg(long)]
    pub upper_case: bool,

    /// Write running for in_progress.
    #[arg(long)]
    pub running: bool,

    /// Write keys in camelCase.
    #[arg(long)]
    pub camel_case: bool,

    /// What files_data is while the operation is queued.
    #[arg(long, value_enum, default_value_t = QueuedFiles::Listed)]
    pub queued_files: QueuedFiles,

    /// Word for an operation that completed although some of its files failed.
    #[arg(long, value_enum, default_value_t = PartialWord::Completed)]
    pub partial_word: PartialWord,

    /// Write null for what a file does not have, in place of leaving it out.
    #[arg(long)]
    pub null_fields: bool,

    /// Write download links as paths, without scheme and host.
    #[arg(long)]
    pub relative_links: bool,

    /// Add fields that the documentation does not know.
    #[arg(long)]
    pub extra_fields: bool,
}

/// What `files_data` is while the operation is queued.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueuedFiles {
    /// The queued files.
    #[default]
    Listed,
    /// An empty list.
    Empty,
    /// Null.
    Null,
    /// Not there.
    Absent,
}

/// The word for an operation that completed although some of its files failed.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PartialWord {
    /// The plain word.
    #[default]
    #[value(name = "completed")]
    Completed,
    /// With an underscore.
    #[value(name = "partially_completed")]
    Underscore,
    /// With a hyphen.
    #[value(name = "partially-completed")]
    Hyphen,
    /// With a blank.
    #[value(name = "partially completed")]
    Blank,
}

impl StyleOptions {
    /// The form of the next answer.
    pub(super) fn draw(&self, random: &mut StdRng) -> Style {
        if !self.mixed {
            return self.fixed;
        }
        Style {
            bare: random.random(),
            upper_case: random.random(),
            running: random.random(),
            camel_case: random.random(),
            queued_files: choose(QueuedFiles::value_variants(), random),
            partial_word: choose(PartialWord::value_variants(), random),
            null_fields: random.random(),
            relative_links: random.random(),
            extra_fields: random.random(),
        }
    }
}

fn choose<T: Copy + Default>(variants: &[T], random: &mut impl Rng) -> T {
    variants.get(random.random_range(0..variants.len().max(1))).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::seed::Seed;

    #[test]
    fn mixed_answers_take_every_form_and_the_others_only_their_own() {
        let mixed = StyleOptions { mixed: true, fixed: Style::default() };
        let mut random = Seed::new(1).source();
        let drawn: Vec<Style> = (0..200).map(|_| mixed.draw(&mut random)).collect();
        for queued_files in QueuedFiles::value_variants() {
            assert!(drawn.iter().any(|style| style.queued_files == *queued_files));
        }
        for word in PartialWord::value_variants() {
            assert!(drawn.iter().any(|style| style.partial_word == *word));
        }
        assert!(drawn.iter().any(|style| style.bare) && drawn.iter().any(|style| !style.bare));

        let fixed = StyleOptions { mixed: false, fixed: Style { upper_case: true, ..Style::default() } };
        assert_eq!(fixed.draw(&mut random), fixed.fixed);
    }
}
