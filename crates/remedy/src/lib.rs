//! Symptoms and history to diagnosis, plan, guards and the commit message
