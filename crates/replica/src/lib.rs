//! The replicated state on disk and between members: openraft, RocksDB, tonic
