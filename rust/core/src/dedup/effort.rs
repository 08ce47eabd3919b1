//! How hard to try: what to compare in a bucket, and to try less where a corpus has had its share.

use super::NearSettings;

/// Work that goes into a row of any length, in the unit of one token's sketching.
const ROW: u64 = 256;

/// Tokens' worth of one comparison of signatures of 32 bins, and of one token in an exact comparison.
const AGREEMENT: u64 = 1;
const EXACT: u64 = 2;

/// What two sketches have to show before the rows are compared exactly.
struct Step {
    /// Until refused comparisons have cost more than so many percent of the sketching.
    until: u64,
    /// By how many standard deviations sketches agree better than those of rows at the threshold.
    alone: f64,
    /// The same of sketches that fine ones back up, and of the fine ones; nothing where none are made.
    backed: Option<(f64, f64)>,
}

/// The first step loses no more than one pair at the threshold in ten thousand. The later ones are for
/// crowds just below the threshold, which are told from alike rows by finer sketches.
const STEPS: [Step; 5] = [
    Step { until: 50, alone: -4.0, backed: None },
    Step { until: 75, alone: -1.0, backed: Some((-1.0, -1.0)) },
    Step { until: 100, alone: 0.5, backed: Some((-1.0, 0.5)) },
    Step { until: 150, alone: 1.5, backed: Some((-1.0, 1.5)) },
    Step { until: u64::MAX, alone: 3.0, backed: Some((0.0, 3.0)) },
];

/// With how many rows before it in a bucket, and as many at the front, a row's sketch is compared, until
/// searches in vain have cost how many percent of the sketching.
const REACHES: [(u64, usize); 3] = [(100, 128), (200, 8), (u64::MAX, 2)];

/// How hard to try in one band.
#[derive(Debug)]
pub(super) struct Efforts {
    ordinary: Effort,
    /// In a bucket of more rows than an ordinary effort has in reach.
    crowded: Effort,
}

impl Efforts {
    pub(super) fn of(&self, bucket: usize) -> &Effort {
        if bucket <= 2 * self.ordinary.reach { &self.ordinary } else { &self.crowded }
    }
}

/// How hard to try in one bucket.
#[derive(Debug)]
pub(super) struct Effort {
    /// Rows before a row in its bucket that it is compared with, and rows at the front.
    pub(super) reach: usize,
    /// Rows that agree in more bins than this are likelier alike than not.
    pub(super) likely: usize,
    /// For each number of own bins, in how many bins two rows have to agree.
    pub(super) least: Vec<usize>,
    /// What to ask instead where there are fine sketches, if they are asked.
    pub(super) backed: Option<Backed>,
}

/// What two sketches have to show if fine ones have a say too.
#[derive(Debug)]
pub(super) struct Backed {
    /// For each number of own bins, in how many bins two rows have to agree.
    pub(super) least: Vec<usize>,
    /// How many standard deviations better than at the threshold the fine ones have to agree.
    pub(super) deviations: f64,
}

impl Effort {
    fn new(settings: NearSettings, reach: usize, step: &Step) -> Self {
        let bins = settings.num_hashes;
        let least = |deviations| (0..=bins).map(|own| least_agreement(settings, own, deviations)).collect();
        Self {
            reach,
            likely: (bins as f64 * settings.threshold) as usize,
            least: least(step.alone),
            backed: step.backed.map(|(coarse, deviations)| Backed { least: least(coarse), deviations }),
        }
    }
}

/// What may be spent, and was, on looking for rows that are alike in vain. What ends in a link is not
/// counted: there are fewer links than rows.
#[derive(Debug)]
pub(super) struct Budget {
    sketching: u64,
    spent: Work,
}

/// Work in vain, in the unit of one token's sketching.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Work {
    /// On sketches that were compared.
    pub(super) search: u64,
    /// On rows that were compared exactly.
    pub(super) exact: u64,
}

impl Work {
    pub(super) fn add(&mut self, other: Self) {
        self.search += other.search;
        self.exact += other.exact;
    }
}

impl Budget {
    pub(super) fn new(documents: &[&[u32]]) -> Self {
        let tokens: u64 = documents.iter().map(|tokens| tokens.len() as u64).sum();
        Self { sketching: (tokens + ROW * documents.len() as u64).max(1), spent: Work::default() }
    }

    pub(super) fn spend(&mut self, work: Work) {
        self.spent.add(work);
    }

    /// How hard to try next.
    pub(super) fn efforts(&self, settings: NearSettings) -> Efforts {
        let percent = |spent: u64| spent.saturating_mul(100) / self.sketching;
        let reach = REACHES.iter().position(|&(most, _)| percent(self.spent.search) <= most).unwrap_or(0);
        let step = STEPS.iter().position(|step| percent(self.spent.exact) <= step.until).unwrap_or(0);
        let effort = |reach: usize, step: usize| Effort::new(settings, REACHES[reach].1, &STEPS[step]);
        Efforts { ordinary: effort(reach, step), crowded: effort(reach.max(1), step.max(1)) }
    }
}

/// Work of comparing two signatures of so many bins.
pub(super) fn agreement_work(bins: usize) -> u64 {
    AGREEMENT * (bins as u64).div_ceil(32)
}

/// Work of comparing two rows exactly.
pub(super) fn exact_work(a: &[u32], b: &[u32]) -> u64 {
    EXACT * (a.len() + b.len()) as u64
}

/// In how many bins rows at the threshold agree, `deviations` above the mean. Bins that are borrowed
/// say nothing new and make bins that are not count double: `own` of `bins` own bins are worth
/// `own^2 / bins` independent ones at least.
fn least_agreement(settings: NearSettings, own: usize, deviations: f64) -> usize {
    let (bins, threshold) = (settings.num_hashes as f64, settings.threshold);
    let worth = ((own * own) as f64 / bins).max(1.0 / bins);
    let deviation = bins * (threshold * (1.0 - threshold) / worth).sqrt();
    (bins * threshold + deviations * deviation).clamp(0.0, bins).ceil() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_with_few_bins_of_their_own_are_always_compared() {
        let effort = Budget::new(&[]).efforts(NearSettings::default()).ordinary;
        assert_eq!((effort.least[128], effort.least[64], effort.least[1]), (85, 67, 0));
        let equal = NearSettings { threshold: 1.0, ..NearSettings::default() };
        assert_eq!(Budget::new(&[]).efforts(equal).ordinary.least[128], 128);
    }

    #[test]
    fn effort_shrinks_with_what_is_spent() {
        let row = [0; 744];
        let mut budget = Budget::new(&[&row]);
        let steps = [(0, 0), (1000, 0), (10, 500), (0, 10), (0, 250), (0, 250), (5000, 1 << 40)].map(
            |(search, exact)| {
                budget.spend(Work { search, exact });
                let effort = budget.efforts(NearSettings::default()).ordinary;
                (effort.reach, effort.least[128], effort.backed.map(|backed| backed.least[128]))
            },
        );
        let wanted = [
            (128, 85, None),
            (128, 85, None),
            (8, 85, None),
            (8, 98, Some(98)),
            (8, 105, Some(98)),
            (8, 110, Some(98)),
            (2, 116, Some(103)),
        ];
        assert_eq!(steps, wanted);
    }
}
