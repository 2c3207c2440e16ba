#pragma once
// The program pretrain, as a function: a program with an objective of its own registers that first
// (custom_objective.cpp).

namespace invar::app {

/// Reads the command line, trains, evaluates; returns the exit code.
int pretrain_main(int argc, char** argv);

}  // namespace invar::app
