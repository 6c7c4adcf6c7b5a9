//! The words every part of regraft shares
