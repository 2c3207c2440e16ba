// pretrain: self-supervised training of an encoder from a JSON configuration.
//
//   pretrain examples/configs/quickstart.json --out runs/first [--set training.epochs=3] [--seed 1]
//   pretrain --out runs/first --resume
//   pretrain CONFIG --out runs/first --profile runs/first.trace.json
//
// The run directory is described in common/run_directory.hpp, the configuration in
// common/experiment.hpp, training in common/training.hpp. Ctrl-C saves a checkpoint and says how to
// go on.
#include "common/pretrain.hpp"

int main(int argc, char** argv) { return invar::app::pretrain_main(argc, argv); }
