//! Grows trees on samples of rows.
//!
//! Each tree has a stream of randomness of its own, by its number: trees can be grown in any order, and one that is added
//! later is as it would have been.

use crate::key::key;
use crate::params::{Cut, IsolationForestValidParams};
use crate::path::{count, mean_path_length};
use crate::tree::{Node, Term, Trees, small};
use linfa::Float;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How often a slanted cut is tried that leaves one side empty, before a straight one takes its place.
const SLANTED_TRIES: usize = 4;
/// Uniform numbers whose sum is nearly normal (Irwin and Hall): exact on every platform, unlike logarithms.
const UNIFORMS_OF_A_NORMAL: u32 = 12;

/// What trees are grown on: rows one after the other.
pub(crate) struct Rows<'a, F> {
    pub(crate) values: &'a [F],
    pub(crate) columns: usize,
    pub(crate) weights: Option<&'a [f32]>,
}

impl<F: Float> Rows<'_, F> {
    pub(crate) fn len(&self) -> usize {
        self.values.len() / self.columns
    }

    fn row(&self, row: u32) -> &[F] {
        let start = row as usize * self.columns;
        &self.values[start..start + self.columns]
    }

    /// The least and the greatest finite value of a column; none where it does not vary.
    fn range(&self, column: usize, rows: &[u32]) -> Option<(F, F)> {
        let values = rows.iter().map(|row| self.row(*row)[column]);
        let mut finite = values.filter(|x| x.is_finite());
        let first = finite.next()?;
        let (least, most) = finite.fold((first, first), |(least, most), x| {
            (least.min(x), most.max(x))
        });
        (least < most).then_some((least, most))
    }
}

/// Adds the tree with this number.
pub(crate) fn grow<F: Float>(
    params: &IsolationForestValidParams<F>,
    rows: &Rows<'_, F>,
    number: u64,
    trees: &mut Trees<F>,
) {
    let mut random = ChaCha8Rng::seed_from_u64(params.seed);
    random.set_stream(number);
    let sample = draw(rows, params.sample_rows, &mut random);
    let start = trees.nodes.len();
    let sample_rows = sample.len();
    let mean = mean_path_length(sample_rows);
    let mut growing = Growing {
        rows,
        random,
        cut: params.cut,
        depth_max: params
            .depth_max
            .unwrap_or_else(|| balanced_depth(sample_rows)),
        per_mean: if mean > 0.0 { 1.0 / mean } else { 0.0 },
        trees,
        columns: Vec::new(),
        sides: Sides::default(),
    };
    growing.grow(sample);
    trees.close(start, small(sample_rows));
}

/// Rows without replacement; with weights each next one with a chance by its weight among those that are left
/// (Efraimidis and Spirakis 2006, with exponential keys).
fn draw<F: Float>(rows: &Rows<'_, F>, wanted: usize, random: &mut ChaCha8Rng) -> Vec<u32> {
    let all = small(rows.len());
    let Some(weights) = rows.weights else {
        if rows.len() <= wanted {
            return (0..all).collect();
        }
        let drawn = rand::seq::index::sample(random, rows.len(), wanted);
        return drawn.iter().map(small).collect();
    };
    let mut keyed: Vec<(f64, u32)> = (0..all)
        .zip(weights)
        .filter(|(_, weight)| **weight > 0.0)
        .map(|(row, weight)| {
            let uniform: f64 = random.r#gen();
            (-libm::log(1.0 - uniform) / f64::from(*weight), row)
        })
        .collect();
    keyed.sort_unstable_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
    keyed.truncate(wanted);
    keyed.into_iter().map(|(_, row)| row).collect()
}

/// Depth of a balanced tree of so many rows.
fn balanced_depth(rows: usize) -> usize {
    (usize::BITS - rows.saturating_sub(1).leading_zeros()) as usize
}

/// A node that is to be divided: where it is, its rows in the order, and its depth.
struct Open {
    at: usize,
    from: usize,
    to: usize,
    depth: usize,
}

struct Growing<'a, 'b, F> {
    rows: &'a Rows<'a, F>,
    random: ChaCha8Rng,
    cut: Cut,
    depth_max: usize,
    /// Of a path length: what makes it a multiple of the mean one.
    per_mean: f64,
    trees: &'b mut Trees<F>,
    /// Columns that may still vary in the node at hand.
    columns: Vec<u32>,
    sides: Sides,
}

/// Rows of a node, told apart by its cut.
#[derive(Default)]
struct Sides {
    left: Vec<u32>,
    right: Vec<u32>,
    /// Those that lack what is cut.
    lacking: Vec<u32>,
}

impl<F: Float> Growing<'_, '_, F> {
    fn grow(&mut self, mut order: Vec<u32>) {
        let root = self.trees.push_leaf(F::one());
        let mut open = vec![Open {
            at: root,
            from: 0,
            to: order.len(),
            depth: 0,
        }];
        while let Some(next) = open.pop() {
            let rows = &mut order[next.from..next.to];
            let left_rows = if next.depth < self.depth_max {
                self.divide(next.at, rows)
            } else {
                None
            };
            let Some(left_rows) = left_rows else {
                self.close(&next);
                continue;
            };
            let left = self.trees.push_leaf(F::one());
            let right = self.trees.push_leaf(F::one());
            self.trees.nodes[next.at].below = small(left - next.at);
            let (middle, depth) = (next.from + left_rows, next.depth + 1);
            open.push(Open {
                at: right,
                from: middle,
                to: next.to,
                depth,
            });
            open.push(Open {
                at: left,
                from: next.from,
                to: middle,
                depth,
            });
        }
    }

    /// A leaf stands for the tree that its rows would have grown into.
    fn close(&mut self, leaf: &Open) {
        let length = count(leaf.depth) + mean_path_length(leaf.to - leaf.from);
        self.trees.expected[leaf.at] = match self.per_mean > 0.0 {
            true => F::cast(length * self.per_mean),
            // A tree of one row tells nothing: the mean itself.
            false => F::one(),
        };
    }

    /// Cuts a node and puts its left rows first; how many those are, or none where nothing divides them.
    fn divide(&mut self, at: usize, rows: &mut [u32]) -> Option<usize> {
        if rows.len() < 2 {
            return None;
        }
        self.columns.clear();
        self.columns.extend(0..small(self.rows.columns));
        let divided = match self.cut {
            Cut::Straight => self.straight(at, rows),
            Cut::Slanted { columns } => self.slanted(at, columns, rows),
        };
        divided.then(|| self.settle(at, rows))
    }

    fn straight(&mut self, at: usize, rows: &[u32]) -> bool {
        let Some((column, least, most)) = self.varying_column(rows) else {
            return false;
        };
        let value = self.between(least, most);
        let node = &mut self.trees.nodes[at];
        (node.cut, node.key) = (column, key(value));
        self.part(at, rows);
        true
    }

    fn slanted(&mut self, at: usize, wanted: usize, rows: &[u32]) -> bool {
        let mut ranges = Vec::new();
        while ranges.len() < wanted
            && let Some(range) = self.varying_column(rows)
        {
            ranges.push(range);
        }
        let Some(first) = ranges.first().copied() else {
            return false;
        };
        let begin = self.trees.terms.len();
        let node = &mut self.trees.nodes[at];
        (node.cut, node.key) = (small(begin), key(F::zero()));
        for attempt in 0..=SLANTED_TRIES {
            self.trees.terms.truncate(begin);
            // The last one is a straight cut, which always divides.
            let ranges = match attempt < SLANTED_TRIES {
                true => &ranges[..],
                false => &[first],
            };
            for (column, least, most) in ranges.iter().copied() {
                let centre = self.between(least, most);
                let coefficient = match attempt < SLANTED_TRIES {
                    true => F::cast(self.normal()) / (most - least),
                    false => F::one(),
                };
                self.trees.terms.push(Term {
                    column,
                    coefficient: finite_or_zero(coefficient),
                    centre,
                });
            }
            let padding = Term {
                column: first.0,
                coefficient: F::zero(),
                centre: F::zero(),
            };
            self.trees
                .terms
                .resize(begin + self.trees.terms_per_cut, padding);
            self.part(at, rows);
            if !self.sides.left.is_empty() && !self.sides.right.is_empty() {
                return true;
            }
        }
        self.trees.terms.truncate(begin);
        self.trees.nodes[at] = Node::LEAF;
        false
    }

    /// One of the columns that are left, with its range in the node. Those found constant are taken out on the way, so that
    /// each that varies has the same chance.
    fn varying_column(&mut self, rows: &[u32]) -> Option<(u32, F, F)> {
        while !self.columns.is_empty() {
            let at = self.random.gen_range(0..self.columns.len());
            let column = self.columns.swap_remove(at);
            if let Some((least, most)) = self.rows.range(column as usize, rows) {
                return Some((column, least, most));
            }
        }
        None
    }

    /// A value from the least on and below the greatest, so that a cut above it leaves rows on both sides.
    fn between(&mut self, least: F, most: F) -> F {
        let share = F::cast(self.random.r#gen::<f64>());
        let value = least * (F::one() - share) + most * share;
        match value >= least && value < most {
            true => value,
            false => least,
        }
    }

    fn normal(&mut self) -> f64 {
        let uniforms = (0..UNIFORMS_OF_A_NORMAL).map(|_| self.random.r#gen::<f64>());
        uniforms.sum::<f64>() - f64::from(UNIFORMS_OF_A_NORMAL) / 2.0
    }

    /// Tells the rows apart by the cut of a node.
    fn part(&mut self, at: usize, rows: &[u32]) {
        let Sides {
            left,
            right,
            lacking,
        } = &mut self.sides;
        left.clear();
        right.clear();
        lacking.clear();
        let node = self.trees.nodes[at];
        for row in rows {
            match self.trees.goes_left(&node, self.rows.row(*row)) {
                Some(true) => left.push(*row),
                Some(false) => right.push(*row),
                None => lacking.push(*row),
            }
        }
    }

    /// Puts the rows of a parted node in order. Those that lack what was cut go either way, by the shares of the others.
    fn settle(&mut self, at: usize, rows: &mut [u32]) -> usize {
        let Sides {
            left,
            right,
            lacking,
        } = &mut self.sides;
        let share = count(left.len()) / count(left.len() + right.len());
        self.trees.left[at] = F::cast(share);
        for row in lacking.drain(..) {
            match self.random.r#gen::<f64>() < share {
                true => left.push(row),
                false => right.push(row),
            }
        }
        let (first, second) = rows.split_at_mut(left.len());
        first.copy_from_slice(left);
        second.copy_from_slice(right);
        first.len()
    }
}

fn finite_or_zero<F: Float>(value: F) -> F {
    match value.is_finite() {
        true => value,
        false => F::zero(),
    }
}
