//! Generated gRPC types
