// The library on the CPU: everything that needs no more than Eigen, Random123 and threads.
// For files of JSON, masks and text, add zoq/io.hpp.
//
//     #include <zoq/zoq.hpp>
//     #include <zoq/io.hpp>
//
//     zoq::cpu exec;
//     auto model = zoq::llama::open("model.gguf");
//     auto mask = zoq::top_k(zoq::fisher(exec, model, windows), {.density = 0.001});
//     auto tuned = zoq::sparse_view(exec, model.tensors(), mask);
//     zoq::trainer trainer{exec, model, tuned, zoq::option_likelihood{}, zoq::spsa{}, zoq::sgd{}};
//     trainer.run(rows, {.steps = 400});
//     zoq::save_delta("delta.safetensors", tuned);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "zoq/data/example.hpp"
#include "zoq/data/row_order.hpp"
#include "zoq/data/windows.hpp"
#include "zoq/estimate/epsilon.hpp"
#include "zoq/estimate/spsa.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/io/gguf.hpp"
#include "zoq/io/gguf_writer.hpp"
#include "zoq/model/llama.hpp"
#include "zoq/model/llama_forward.hpp"
#include "zoq/model/llama_reverse.hpp"
#include "zoq/model/llama_shapes.hpp"
#include "zoq/objective/objectives.hpp"
#include "zoq/optim/optimizers.hpp"
#include "zoq/optim/schedule.hpp"
#include "zoq/score/fisher.hpp"
#include "zoq/score/fisher_task.hpp"
#include "zoq/score/forward_curvature.hpp"
#include "zoq/score/hessian_trace.hpp"
#include "zoq/score/loss_sensitivity.hpp"
#include "zoq/score/neuron.hpp"
#include "zoq/score/on_cpu.hpp"
#include "zoq/score/simple.hpp"
#include "zoq/sparse/algebra.hpp"
#include "zoq/sparse/delta.hpp"
#include "zoq/sparse/mask.hpp"
#include "zoq/sparse/top_k.hpp"
#include "zoq/train/minimize.hpp"
#include "zoq/train/on_cpu.hpp"
#include "zoq/train/plan.hpp"
#include "zoq/train/trainer.hpp"
#include "zoq/view/layouts.hpp"
#include "zoq/view/on_cpu.hpp"
