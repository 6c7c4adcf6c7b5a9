//! Trees as they lie in memory, and the ways of rows through them.
//!
//! Guarantees: children come after their parent, both within its tree, so every way ends; the terms of a tree's cuts
//! follow those of the tree before.

use crate::bits;
use crate::key::{ABOVE_ALL, key};
use linfa::Float;
use serde::{Deserialize, Serialize};

/// Nodes, terms, rows and columns are fewer than this.
pub(crate) const LIMIT: usize = u32::MAX as usize;

/// Ways that are taken side by side: enough to hide how long a step takes, few enough for the registers of a processor.
pub(crate) const LANES: usize = 8;

/// The number of a node, a term, a row or a column.
pub(crate) fn small(number: usize) -> u32 {
    u32::try_from(number).expect("fewer than the limit: checked before trees are grown")
}

/// What the way of a row needs of a node, in 16 bytes. A leaf sends every row to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// The [`key`] of a straight cut: rows above it go right. Above all of a leaf.
    pub(crate) key: u64,
    /// The column of a straight cut, or the number of the first term of a slanted one.
    pub(crate) cut: u32,
    /// How many nodes further the left child is; the right one follows it. 0 of a leaf.
    pub(crate) below: u32,
}

impl Node {
    pub(crate) const LEAF: Self = Self {
        key: ABOVE_ALL,
        cut: 0,
        below: 0,
    };

    pub(crate) fn is_leaf(&self) -> bool {
        self.below == 0
    }
}

/// What one column does to a slanted cut: `coefficient * (x - centre)`; rows whose sum is below 0 go left.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound = "F: Float")]
pub(crate) struct Term<F> {
    pub(crate) column: u32,
    #[serde(with = "bits")]
    pub(crate) coefficient: F,
    #[serde(with = "bits")]
    pub(crate) centre: F,
}

/// One tree: where its nodes are, the first of which is its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(crate) start: u32,
    pub(crate) end: u32,
    /// Rows it was grown on.
    pub(crate) sample_rows: u32,
    /// Cuts on its longest way.
    pub(crate) depth: u32,
}

/// All trees of a forest, one after the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Trees<F> {
    pub(crate) trees: Vec<Tree>,
    pub(crate) nodes: Vec<Node>,
    /// For each node the share of its rows that went left: where a row that lacks the column goes, by halves.
    pub(crate) left: Vec<F>,
    /// For each node the mean path length of the rows below it, as a multiple of the mean one of the tree's sample.
    pub(crate) expected: Vec<F>,
    pub(crate) terms: Vec<Term<F>>,
    /// Terms of each slanted cut; 0 where cuts are straight.
    pub(crate) terms_per_cut: usize,
}

impl<F: Float> Trees<F> {
    /// Adds a leaf with this path length.
    pub(crate) fn push_leaf(&mut self, length: F) -> usize {
        self.nodes.push(Node::LEAF);
        self.left.push(F::zero());
        self.expected.push(length);
        self.nodes.len() - 1
    }

    /// Makes a tree of the nodes from this one on, and works out what follows from them.
    pub(crate) fn close(&mut self, start: usize, sample_rows: u32) {
        let mut heights = vec![0; self.nodes.len() - start];
        for at in (start..self.nodes.len()).rev() {
            let Some((left, right)) = self.children(at) else {
                continue;
            };
            let share = self.left[at];
            self.expected[at] =
                share * self.expected[left] + (F::one() - share) * self.expected[right];
            heights[at - start] = 1 + heights[left - start].max(heights[right - start]);
        }
        self.trees.push(Tree {
            start: small(start),
            end: small(self.nodes.len()),
            sample_rows,
            depth: heights.first().copied().unwrap_or_default(),
        });
    }

    /// Lets the first trees go.
    pub(crate) fn forget(&mut self, trees: usize) {
        let Some(last) = self.trees.drain(..trees).next_back() else {
            return;
        };
        let gone = last.end as usize;
        self.left.drain(..gone);
        self.expected.drain(..gone);
        let cuts = self.nodes.drain(..gone).filter(|node| !node.is_leaf());
        let terms = cuts.count() * self.terms_per_cut;
        self.terms.drain(..terms);
        for tree in &mut self.trees {
            tree.start -= last.end;
            tree.end -= last.end;
        }
        let terms = small(terms);
        for node in self.nodes.iter_mut().filter(|node| !node.is_leaf()) {
            // Columns of straight cuts stay: they have no terms.
            node.cut -= terms;
        }
    }

    /// Gives back the room that growing took beforehand: a forest is kept for long, and grown seldom.
    pub(crate) fn shrink_to_fit(&mut self) {
        self.trees.shrink_to_fit();
        self.nodes.shrink_to_fit();
        self.left.shrink_to_fit();
        self.expected.shrink_to_fit();
        self.terms.shrink_to_fit();
    }

    /// Bytes outside of this value itself.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.trees.capacity() * size_of::<Tree>()
            + self.nodes.capacity() * size_of::<Node>()
            + (self.left.capacity() + self.expected.capacity()) * size_of::<F>()
            + self.terms.capacity() * size_of::<Term<F>>()
    }

    pub(crate) fn children(&self, at: usize) -> Option<(usize, usize)> {
        let node = &self.nodes[at];
        let left = at + node.below as usize;
        (!node.is_leaf()).then_some((left, left + 1))
    }

    pub(crate) fn terms_of(&self, node: &Node) -> &[Term<F>] {
        let first = node.cut as usize;
        &self.terms[first..first + self.terms_per_cut]
    }

    /// Whether a row goes left at a node that is no leaf; none where it lacks all columns of the cut.
    pub(crate) fn goes_left(&self, node: &Node, row: &[F]) -> Option<bool> {
        if self.terms_per_cut == 0 {
            let x = row[node.cut as usize];
            return (!x.is_nan()).then_some(key(x) <= node.key);
        }
        let mut sum = F::zero();
        let mut known = false;
        for term in self.terms_of(node) {
            let x = row[term.column as usize];
            // Nothing times infinity would be no number.
            if !x.is_nan() && term.coefficient != F::zero() {
                sum += term.coefficient * (x - term.centre);
                known = true;
            }
        }
        known.then_some(sum < F::zero())
    }

    /// Takes several ways through trees with straight cuts side by side, each from its node on: none waits for another's
    /// step to be known. `key_of` tells the key of what the row of a lane has in a column. A way that has ended stays where
    /// it is.
    #[inline]
    pub(crate) fn descend(
        &self,
        depth: u32,
        mut at: [u32; LANES],
        key_of: impl Fn(usize, usize) -> u64,
    ) -> [u32; LANES] {
        for _ in 0..depth {
            for (lane, at) in at.iter_mut().enumerate() {
                let node = &self.nodes[*at as usize];
                let goes_right = node.key < key_of(lane, node.cut as usize);
                // In this order the comparison and both additions are two instructions. Numbers of nodes do not wrap.
                *at = at
                    .wrapping_add(node.below)
                    .wrapping_add(u32::from(goes_right));
            }
        }
        at
    }

    /// The path length of a row, as a multiple of the mean one.
    pub(crate) fn path_length(&self, tree: Tree, row: &[F], ways: &mut Vec<(usize, F)>) -> F {
        let mut at = tree.start as usize;
        loop {
            let node = &self.nodes[at];
            if node.is_leaf() {
                return self.expected[at];
            }
            match self.goes_left(node, row) {
                Some(left) => at += node.below as usize + usize::from(!left),
                None => return self.blended(at, row, ways),
            }
        }
    }

    /// The same where the row lacks what a node cuts: both ways, by the shares of the rows that went there.
    fn blended(&self, at: usize, row: &[F], ways: &mut Vec<(usize, F)>) -> F {
        let mut length = F::zero();
        self.each_way(at, row, ways, |_, at, weight| {
            if self.nodes[at].is_leaf() {
                length += weight * self.expected[at];
            }
        });
        length
    }

    /// Tells of every node on the ways of a row from a node on: whence, the node, and which part of the row gets there.
    pub(crate) fn each_way(
        &self,
        from: usize,
        row: &[F],
        ways: &mut Vec<(usize, F)>,
        mut tell: impl FnMut(Option<usize>, usize, F),
    ) {
        ways.clear();
        ways.push((from, F::one()));
        tell(None, from, F::one());
        while let Some((at, weight)) = ways.pop() {
            let Some((left, right)) = self.children(at) else {
                continue;
            };
            let taken = match self.goes_left(&self.nodes[at], row) {
                Some(true) => [(left, weight), (right, F::zero())],
                Some(false) => [(left, F::zero()), (right, weight)],
                None => [
                    (left, weight * self.left[at]),
                    (right, weight * (F::one() - self.left[at])),
                ],
            };
            for (child, weight) in taken {
                if weight > F::zero() {
                    tell(Some(at), child, weight);
                    ways.push((child, weight));
                }
            }
        }
    }
}
