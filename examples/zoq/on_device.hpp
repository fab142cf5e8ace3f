// The executor that --device names. Everything behind it is one source for all of them.
//
//     on_device(options, eval_job{...});
//
// A host's executor is compiled with the commands, a device's in on_cuda.cu by the device's compiler.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <zoq/exec/cpu.hpp>

#include "command.hpp"

namespace zoq::cli {

/// on_cuda.cu, which names the jobs.
template <class Job>
typename Job::result run_on_cuda(const model_options& options, const Job& job);

/// job(executor) on the device of the options. Throws when there is none, or none was built.
template <class Job>
typename Job::result on_device(const model_options& options, const Job& job) {
  if (options.device == "cuda") {
#ifdef ZOQ_WITH_CUDA
    return run_on_cuda(options, job);
#else
    fail("--device cuda: this zoq was built without CUDA (configure with -DZOQ_CUDA=ON)");
#endif
  }
  const cpu exec({options.threads, kernels_named(options.kernels),
                  products_named(options.compute, options.kernels, options.pairs)});
  return job(exec);
}

}  // namespace zoq::cli
