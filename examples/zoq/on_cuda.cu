// The jobs of the subcommands on a CUDA device.
// SPDX-License-Identifier: Apache-2.0
#include <zoq/exec/cuda.cuh>

#include "finetuning.hpp"
#include "jobs.hpp"

namespace zoq::cli {

template <class Job>
typename Job::result run_on_cuda(const model_options& options, const Job& job) {
  require(cuda::available(), "--device cuda: no device, or no driver for it");
  const cuda exec({.products = device_products_named(options.compute, options.pairs)});
  return job(exec);
}

template evaluation run_on_cuda(const model_options&, const eval_job&);
template score_job::result run_on_cuda(const model_options&, const score_job&);
template void run_on_cuda(const model_options&, const generate_job&);
template mask run_on_cuda(const model_options&, const mask_job&);
template int run_on_cuda(const model_options&, const finetune_job&);

}  // namespace zoq::cli
