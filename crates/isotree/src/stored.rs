//! How a forest is serialised, and what one that is read has to be.
//!
//! Numbers are written as their bits, so that they come back to the last one from any format: readers of texts often miss
//! it.

use crate::bits;
use crate::error::Error;
use crate::forest::IsolationForest;
use crate::key::{key, number};
use crate::path::count;
use crate::tree::{Node, Term, Trees};
use linfa::Float;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Version of what is written. Another one is refused.
pub const FORMAT: u32 = 1;

/// Marks a leaf in [`StoredNode::cut`].
const LEAF: u32 = u32::MAX;

/// A forest without what can be worked out of it.
#[derive(Serialize, Deserialize)]
#[serde(bound = "F: Float")]
pub(crate) struct Stored<F> {
    format: u32,
    columns: usize,
    #[serde(with = "bits")]
    threshold: F,
    grown: u64,
    terms_per_cut: usize,
    trees: Vec<StoredTree>,
    nodes: Vec<StoredNode<F>>,
    terms: Vec<Term<F>>,
}

#[derive(Serialize, Deserialize)]
struct StoredTree {
    start: u32,
    end: u32,
    sample_rows: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "F: Float")]
struct StoredNode<F> {
    cut: u32,
    below: u32,
    /// Of a leaf: its path length.
    #[serde(with = "bits")]
    value: F,
    #[serde(with = "bits")]
    left: F,
}

impl<F: Float> From<IsolationForest<F>> for Stored<F> {
    fn from(forest: IsolationForest<F>) -> Self {
        let trees = forest.trees;
        let cold = trees.left.into_iter().zip(trees.expected);
        let nodes = trees.nodes.into_iter().zip(cold);
        Self {
            format: FORMAT,
            columns: forest.columns,
            threshold: forest.threshold,
            grown: forest.grown,
            terms_per_cut: trees.terms_per_cut,
            trees: trees
                .trees
                .into_iter()
                .map(|tree| StoredTree {
                    start: tree.start,
                    end: tree.end,
                    sample_rows: tree.sample_rows,
                })
                .collect(),
            nodes: nodes
                .map(|(node, (left, expected))| match node.is_leaf() {
                    true => StoredNode {
                        cut: LEAF,
                        below: 0,
                        value: expected,
                        left,
                    },
                    false => StoredNode {
                        cut: node.cut,
                        below: node.below,
                        value: number(node.key),
                        left,
                    },
                })
                .collect(),
            terms: trees.terms,
        }
    }
}

impl<F: Float> TryFrom<Stored<F>> for IsolationForest<F> {
    type Error = Error;

    fn try_from(stored: Stored<F>) -> Result<Self, Error> {
        stored.check().map_err(Error::Stored)?;
        let mut trees = Trees {
            terms: stored.terms,
            terms_per_cut: stored.terms_per_cut,
            ..Trees::default()
        };
        let mut nodes = stored.nodes.into_iter();
        for tree in stored.trees {
            let start = trees.nodes.len();
            for node in nodes.by_ref().take((tree.end - tree.start) as usize) {
                let at = trees.push_leaf(node.value);
                trees.left[at] = node.left;
                if node.cut != LEAF {
                    trees.nodes[at] = Node {
                        cut: node.cut,
                        below: node.below,
                        key: key(node.value),
                    };
                }
            }
            trees.close(start, tree.sample_rows);
        }
        Ok(Self {
            columns: stored.columns,
            threshold: stored.threshold,
            grown: stored.grown,
            trees,
        })
    }
}

impl<F: Float> Stored<F> {
    /// All that the ways through the trees rely on: they end, and stay within the arrays.
    fn check(&self) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!(
                "its format is {}, this version reads {FORMAT}",
                self.format
            ));
        }
        if self.columns == 0 || self.trees.is_empty() {
            return Err("it has no columns or no trees".to_owned());
        }
        if !self.threshold.is_finite() {
            return Err("its threshold is no number".to_owned());
        }
        let mut end = 0;
        let mut terms = 0..0_usize;
        for (at, tree) in self.trees.iter().enumerate() {
            if tree.start != end || tree.end <= tree.start || tree.end as usize > self.nodes.len() {
                return Err(format!(
                    "tree {at} does not begin where the one before ends, or is not there"
                ));
            }
            end = tree.end;
            terms = self.check_tree(tree, terms.end)?;
        }
        if end as usize != self.nodes.len() {
            return Err("there are nodes of no tree".to_owned());
        }
        if terms.end != self.terms.len() {
            return Err("there are terms of no tree, or too few".to_owned());
        }
        let is_bad = |term: &Term<F>| {
            term.column as usize >= self.columns
                || !term.coefficient.is_finite()
                || !term.centre.is_finite()
        };
        match self.terms.iter().position(is_bad) {
            Some(at) => Err(format!("term {at} is of no column, or not finite")),
            None => Ok(()),
        }
    }

    /// The nodes of a tree whose terms begin here; which terms it has.
    fn check_tree(&self, tree: &StoredTree, first_term: usize) -> Result<Range<usize>, String> {
        let (start, end) = (tree.start as usize, tree.end as usize);
        let cuts = self.nodes[start..end].iter();
        let cuts = cuts.filter(|node| node.cut != LEAF).count();
        let own_terms = cuts.saturating_mul(self.terms_per_cut);
        let terms = first_term..first_term.saturating_add(own_terms);
        // Every cut takes a row away, and the mean is at least one cut.
        let longest = F::cast(count(tree.sample_rows as usize));
        // Were a node the child of several, there could be more ways than anybody can walk.
        let mut has_parent = vec![false; end - start];
        for at in start..end {
            self.check_node(at, end, &terms)?;
            let node = &self.nodes[at];
            if node.cut == LEAF && node.value > longest {
                return Err(format!("leaf {at} has a path length beyond its tree"));
            }
            if node.cut != LEAF {
                let left = at - start + node.below as usize;
                if has_parent[left] || has_parent[left + 1] {
                    return Err(format!("node {} has two parents", start + left));
                }
                has_parent[left..=left + 1].fill(true);
            }
        }
        Ok(terms)
    }

    /// A node of a tree that ends here and has these terms.
    fn check_node(&self, at: usize, end: usize, terms: &Range<usize>) -> Result<(), String> {
        let node = &self.nodes[at];
        if !node.value.is_finite() || !(F::zero()..=F::one()).contains(&node.left) {
            return Err(format!(
                "node {at} has a value that is not finite, or no share"
            ));
        }
        if node.cut == LEAF {
            return match node.value >= F::zero() {
                true => Ok(()),
                false => Err(format!("leaf {at} has a path length below 0")),
            };
        }
        if node.below == 0 || at + node.below as usize + 1 >= end {
            return Err(format!("the children of node {at} are outside of its tree"));
        }
        let cut = node.cut as usize;
        let is_known = match self.terms_per_cut {
            0 => cut < self.columns,
            per_cut => terms.contains(&cut) && (cut - terms.start).is_multiple_of(per_cut),
        };
        match is_known {
            true => Ok(()),
            false => Err(format!("node {at} cuts what is not there")),
        }
    }
}
