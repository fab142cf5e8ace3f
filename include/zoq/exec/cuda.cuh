// executor cuda: one NVIDIA device, for files that nvcc compiles. The executor template of
// exec/thrust_executor.hpp on a stream; cuBLAS for products of decoded slices; kernels of our own for
// attention and for products of few rows.
//
//     zoq::cuda exec{{.products = zoq::compute::bf16}};     // target zoq::cuda, ZOQ_CUDA=ON
//     if (zoq::cuda::available()) { ... }
//
// Work is queued on the executor's stream in order; what waits: download, sum, and memory that is taken
// or given back. The host memory of an upload must not be pinned: it may be used again at once.
// The same calls give the same bits on the same kind of device and the same cuBLAS. Products of other
// shapes may be summed in another order: stacked branches equal sequential ones but for rounding.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cublas_v2.h>
#include <cuda_runtime_api.h>
#include <thrust/system/cuda/execution_policy.h>

#include <cstddef>
#include <memory>
#include <string_view>
#include <type_traits>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/core/half.hpp"
#include "zoq/exec/attention_block.hpp"
#include "zoq/exec/block.hpp"
#include "zoq/exec/compute.hpp"
#include "zoq/exec/matrix_product.hpp"
#include "zoq/exec/multiply_block.hpp"
#include "zoq/exec/thrust_executor.hpp"
#include "zoq/exec/thrust_tasks.hpp"
#include "zoq/tensor/buffer.hpp"
#include "zoq/tensor/executor.hpp"

namespace zoq {

namespace detail {

/// Throws, naming the call and what CUDA says of it.
inline void require_cuda(cudaError_t result, std::string_view call) {
  if (result != cudaSuccess) {
    cudaGetLastError();  // or the next call would report it again
    fail("cuda: ", call, ": ", cudaGetErrorString(result));
  }
}
inline void require_cublas(cublasStatus_t result, std::string_view call) {
  require(result == CUBLAS_STATUS_SUCCESS, "cuda: ", call, ": ", cublasGetStatusString(result));
}

/// A block of threads on a device: what host_block is on a host. `each` calls what only a device has,
/// in a function that a task may name on either side: the pragma says that this is meant.
template <class Task>
class device_block {
 public:
  __device__ explicit device_block(typename Task::shared& memory) : memory_(memory) {}

#pragma nv_exec_check_disable
  [[nodiscard]] ZOQ_HD index_t index() const { return number(); }
  [[nodiscard]] ZOQ_HD typename Task::shared& shared() const { return memory_; }

#pragma nv_exec_check_disable
  template <class F>
  ZOQ_HD void each(const F& f) const {
    f(thread());
    meet();
  }

  template <class State>
  struct of_thread {
    State mine = {};
    ZOQ_HD State& operator[](int) { return mine; }
  };
  template <class State>
  [[nodiscard]] ZOQ_HD of_thread<State> local() const {
    return {};
  }

 private:
  static __device__ index_t number() { return static_cast<index_t>(blockIdx.x); }
  static __device__ int thread() { return static_cast<int>(threadIdx.x); }
  static __device__ void meet() { __syncthreads(); }

  typename Task::shared& memory_;
};

template <class Task>
__global__ void __launch_bounds__(Task::threads) run_block(const Task task) {
  extern __shared__ floats4 block_memory[];
  static_assert(alignof(typename Task::shared) <= alignof(floats4));
  device_block<Task> block(*reinterpret_cast<typename Task::shared*>(block_memory));
  task(block);
}

}  // namespace detail

/// Memory of the current device.
struct cuda_space {
  /// Zeroed memory of `bytes`. Waits for the device. Throws, with what is free, when there is too
  /// little.
  static void* allocate(std::size_t bytes) {
    void* p = nullptr;
    const cudaError_t result = cudaMalloc(&p, bytes);
    if (result == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      std::size_t unused = 0, all = 0;
      detail::require_cuda(cudaMemGetInfo(&unused, &all), "cudaMemGetInfo");
      fail("cuda: no memory for ", bytes, " bytes, ", unused, " of ", all, " are free");
    }
    detail::require_cuda(result, "cudaMalloc");
    std::unique_ptr<void, decltype(&release)> owner(p, &release);
    detail::require_cuda(cudaMemset(p, 0, bytes), "cudaMemset");
    detail::require_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    return owner.release();
  }
  /// Waits for the work in flight that may use it.
  static void release(void* p) noexcept {
    cudaDeviceSynchronize();
    cudaFree(p);
  }
};

struct cuda_options {
  compute products = compute::f32;                       // of linear layers, forward; f32 or bf16
  index_t slice_bytes = workspace_limits().slice_bytes;  // of weights that are decoded at a time
  int device = 0;  // made the current one of the calling thread
};

/// What thrust_executor asks of a device.
class cuda_back {
 public:
  static constexpr std::string_view name = "cuda";
  using space = cuda_space;
  using options = cuda_options;
  static constexpr index_t most_packed_rows = workspace_limits().packed_rows;
  static_assert(most_packed_rows <= most_block_rows);
  static constexpr index_t workspace_bytes = workspace_limits().library_bytes;

  static int device_count() {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess) {
      cudaGetLastError();
      return 0;
    }
    return count;
  }

  /// Throws when there is no such device.
  explicit cuda_back(const options& how) {
    int count = 0;
    const cudaError_t found = cudaGetDeviceCount(&count);
    if (found != cudaSuccess || count == 0) {
      cudaGetLastError();
      fail("cuda: no device: ",
           found == cudaSuccess ? "the driver names none" : cudaGetErrorString(found));
    }
    require(how.device >= 0 && how.device < count, "cuda: device ", how.device, ", there are ",
            count, " from 0 on");
    detail::require_cuda(cudaSetDevice(how.device), "cudaSetDevice");
    cudaStream_t stream = nullptr;
    detail::require_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking),
                         "cudaStreamCreateWithFlags");
    stream_.reset(stream);
    cublasHandle_t blas = nullptr;
    detail::require_cublas(cublasCreate(&blas), "cublasCreate");
    blas_.reset(blas);
    workspace_ = buffer<std::byte, space>(workspace_bytes);
    detail::require_cublas(cublasSetStream(blas, stream), "cublasSetStream");
    // After the stream, which resets it.
    detail::require_cublas(cublasSetWorkspace(blas, workspace_.data(), workspace_bytes),
                           "cublasSetWorkspace");
    detail::require_cublas(
        cublasSetMathMode(
            blas, static_cast<cublasMath_t>(CUBLAS_DEFAULT_MATH |
                                            CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION)),
        "cublasSetMathMode");
  }

  [[nodiscard]] cudaStream_t stream() const { return stream_.get(); }
  /// No algorithm in use takes memory of its own, so none is given to the policy.
  [[nodiscard]] auto policy() const { return thrust::cuda::par_nosync.on(stream_.get()); }

  void upload(const void* host, index_t bytes, void* here) const {
    detail::require_cuda(cudaMemcpyAsync(here, host, static_cast<std::size_t>(bytes),
                                         cudaMemcpyHostToDevice, stream_.get()),
                         "cudaMemcpyAsync to the device");
  }
  void download(const void* here, index_t bytes, void* host) const {
    detail::require_cuda(cudaMemcpyAsync(host, here, static_cast<std::size_t>(bytes),
                                         cudaMemcpyDeviceToHost, stream_.get()),
                         "cudaMemcpyAsync from the device");
    detail::require_cuda(cudaStreamSynchronize(stream_.get()), "cudaStreamSynchronize");
  }

  /// y = a b^T. cuBLAS counts by columns, so it makes y^T = b a^T: y^T is [outputs, rows].
  template <class T>
  void multiply(const matrix_product<T>& p) const {
    if (p.rows == 0 || p.outputs == 0) {
      return;
    }
    constexpr cudaDataType type = std::is_same_v<T, bf16> ? CUDA_R_16BF : CUDA_R_32F;
    const float one = 1, zero = 0;
    const bool b_deep = deep(p.b, p.depth), a_deep = deep(p.a, p.depth);
    detail::require_cublas(
        cublasGemmEx_64(blas_.get(), b_deep ? CUBLAS_OP_T : CUBLAS_OP_N,
                        a_deep ? CUBLAS_OP_N : CUBLAS_OP_T, p.outputs, p.rows, p.depth, &one,
                        p.b.data, type, b_deep ? p.b.row : p.b.depth, p.a.data, type,
                        a_deep ? p.a.row : p.a.depth, &zero, p.y, CUDA_R_32F, p.y_row,
                        CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
        "cublasGemmEx");
  }

  /// y = x W^T for at most `most_packed_rows` rows: exec/multiply_block.hpp.
  template <class T, quant_scheme S>
  void multiply_packed(tensor_view<const T, 2> x, const packed_view<S>& w,
                       tensor_view<float, 2> y) const {
    with_multiply_block(x, w, y, [&](const auto& task) { run_blocks(task.blocks(), task); });
  }

  /// All heads and queries of a task: exec/attention_block.hpp.
  template <class Task>
  void attention(const Task& task) const {
    with_attention_block(task, [&](const auto& block) { run_blocks(block.blocks(), block); });
  }

  /// `blocks` blocks of threads of a task (exec/block.hpp).
  template <class Task>
  void run_blocks(index_t blocks, const Task& task) const {
    constexpr std::size_t bytes = sizeof(typename Task::shared);
    require(blocks >= 0 && blocks <= 0x7fffffff, "cuda: ", blocks, " blocks of threads at once");
    if (blocks == 0) {
      return;
    }
    if constexpr (bytes > 48 * 1024) {  // only on demand
      detail::require_cuda(
          cudaFuncSetAttribute(detail::run_block<Task>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(bytes)),
          "cudaFuncSetAttribute");
    }
    detail::run_block<Task><<<static_cast<unsigned>(blocks), static_cast<unsigned>(Task::threads),
                              bytes, stream_.get()>>>(task);
    detail::require_cuda(cudaGetLastError(), "a block task's launch");
  }

  [[nodiscard]] index_t byte_count() const { return workspace_.byte_count(); }

 private:
  // The depth runs along memory. Where both strides are 1, one extent is 1, and this tells which.
  template <class T>
  static bool deep(const matrix_operand<T>& m, index_t depth) {
    return m.depth == 1 && m.row >= depth;
  }

  struct give_back {
    void operator()(cudaStream_t stream) const noexcept { cudaStreamDestroy(stream); }
    void operator()(cublasHandle_t blas) const noexcept { cublasDestroy(blas); }
  };
  std::unique_ptr<std::remove_pointer_t<cudaStream_t>, give_back> stream_;
  buffer<std::byte, space> workspace_;  // of cuBLAS
  std::unique_ptr<std::remove_pointer_t<cublasHandle_t>, give_back> blas_;
};

class cuda : public thrust_executor<cuda_back> {
 public:
  using thrust_executor<cuda_back>::thrust_executor;

  /// True when there is a device, and a driver for it.
  [[nodiscard]] static bool available() { return cuda_back::device_count() > 0; }
};
static_assert(executor<cuda>);

}  // namespace zoq
