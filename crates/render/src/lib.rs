//! File tree to objects, configuration and problems
