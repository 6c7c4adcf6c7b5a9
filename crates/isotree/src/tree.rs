//! Trees as they lie in memory, and the ways of rows through them.
//!
//! Guarantees: children come after their parent, both within its tree, so every way ends; the terms of a tree's cuts
//! follow those of the tree before. Nodes and terms are fewer than [`LEAF`].

use linfa::Float;
use serde::{Deserialize, Serialize};

/// Marks a leaf in [`Node::cut`].
pub(crate) const LEAF: u32 = u32::MAX;

/// The number of a node, a term, a row or a column, of which there are fewer than [`LEAF`].
pub(crate) fn small(number: usize) -> u32 {
    u32::try_from(number).expect("fewer than a leaf's mark: checked before trees are grown")
}

/// One node: 16 bytes with `f32`, 24 with `f64`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Node<F> {
    /// The column of a straight cut, the number of the first term of a slanted one, or [`LEAF`].
    pub(crate) cut: u32,
    /// How many nodes further the left child is; the right one follows it.
    pub(crate) below: u32,
    /// Rows below this go left. Of a leaf: its path length, as a multiple of the mean one of the tree's sample.
    pub(crate) value: F,
    /// Share of the node's rows that went left: where a row that lacks the column goes, by halves.
    pub(crate) left: F,
}

/// What one column does to a slanted cut: `coefficient * (x - centre)`; rows whose sum is below 0 go left.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Term<F> {
    pub(crate) column: u32,
    pub(crate) coefficient: F,
    pub(crate) centre: F,
}

/// One tree: where its nodes are, the first of which is its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tree {
    pub(crate) start: u32,
    pub(crate) end: u32,
    /// Rows it was grown on.
    pub(crate) sample_rows: u32,
}

/// All trees of a forest, one after the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Trees<F> {
    pub(crate) trees: Vec<Tree>,
    pub(crate) nodes: Vec<Node<F>>,
    pub(crate) terms: Vec<Term<F>>,
    /// Terms of each slanted cut; 0 where cuts are straight.
    pub(crate) terms_per_cut: usize,
    /// Mean path length of the rows below each node, like [`Node::value`] of a leaf.
    pub(crate) expected: Vec<F>,
}

impl<F: Float> Trees<F> {
    /// Works out [`Self::expected`] of the nodes from this one on.
    pub(crate) fn expect(&mut self, from: usize) {
        self.expected.resize(self.nodes.len(), F::zero());
        for at in (from..self.nodes.len()).rev() {
            let node = self.nodes[at];
            self.expected[at] = match self.children(at) {
                None => node.value,
                Some((left, right)) => {
                    node.left * self.expected[left] + (F::one() - node.left) * self.expected[right]
                }
            };
        }
    }

    /// Lets the first trees go.
    pub(crate) fn forget(&mut self, trees: usize) {
        let Some(last) = self.trees.drain(..trees).next_back() else {
            return;
        };
        let gone = last.end as usize;
        self.expected.drain(..gone);
        let cuts = self.nodes.drain(..gone).filter(|node| node.cut != LEAF);
        let terms = cuts.count() * self.terms_per_cut;
        self.terms.drain(..terms);
        for tree in &mut self.trees {
            tree.start -= last.end;
            tree.end -= last.end;
        }
        let terms = small(terms);
        for node in self.nodes.iter_mut().filter(|node| node.cut != LEAF) {
            // Columns of straight cuts stay: they have no terms.
            node.cut -= terms;
        }
    }

    pub(crate) fn children(&self, at: usize) -> Option<(usize, usize)> {
        let node = &self.nodes[at];
        let left = at + node.below as usize;
        (node.cut != LEAF).then_some((left, left + 1))
    }

    pub(crate) fn terms_of(&self, node: &Node<F>) -> &[Term<F>] {
        let first = node.cut as usize;
        &self.terms[first..first + self.terms_per_cut]
    }

    /// Whether a row goes left at a node that is no leaf; none where it lacks all columns of the cut.
    pub(crate) fn goes_left(&self, node: &Node<F>, row: &[F]) -> Option<bool> {
        if self.terms_per_cut == 0 {
            let x = row[node.cut as usize];
            return (!x.is_nan()).then_some(x < node.value);
        }
        let mut sum = F::zero();
        let mut known = false;
        for term in self.terms_of(node) {
            let x = row[term.column as usize];
            if !x.is_nan() {
                sum += term.coefficient * (x - term.centre);
                known = true;
            }
        }
        known.then_some(sum < F::zero())
    }

    /// The path length of a row, as a multiple of the mean one.
    pub(crate) fn path_length(&self, tree: Tree, row: &[F], ways: &mut Vec<(usize, F)>) -> F {
        let mut at = tree.start as usize;
        loop {
            let node = &self.nodes[at];
            if node.cut == LEAF {
                return node.value;
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
            if self.nodes[at].cut == LEAF {
                length += weight * self.nodes[at].value;
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
            let node = &self.nodes[at];
            let taken = match self.goes_left(node, row) {
                Some(true) => [(left, weight), (right, F::zero())],
                Some(false) => [(left, F::zero()), (right, weight)],
                None => [
                    (left, weight * node.left),
                    (right, weight * (F::one() - node.left)),
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
