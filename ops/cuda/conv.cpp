// Convolution by cuDNN's graph API, and the only source that includes cudnn-frontend (large).
//
//   - A problem is one operation on plain NHWC images and [O, kh, kw, I] weights, which cuDNN knows
//     as NCHW and OIHW with such strides. Sums are f32. The bias is added by an own kernel.
//   - What cuDNN's heuristics suggest first and this machine supports is used (mode A, then the
//     fallback list), so the choice is a function of problem, settings, GPU and version of cuDNN;
//     only where set_benchmark asks for it are the first suggestions timed. The choice is kept in a
//     bounded cache; that there is none is kept, too.
//   - bf16 wants channels in multiples of 8 (tensor cores): others are padded with zeros. The
//     gradient of a bf16 weight is f32 if cuDNN can write that, else rounded to bf16 on the way.
//   - f64, and small problems that cuDNN has no plan for, are computed by conv_plain.cu.
#define CUDNN_FRONTEND_SKIP_JSON_LIB
#include <cudnn_frontend.h>

#include <cmath>
#include <invar/core/cuda/error.hpp>
#include <invar/core/cuda/runtime.hpp>
#include <invar/core/integers.hpp>
#include <invar/ops/conv.hpp>
#include <invar/ops/cuda/conv_plain.hpp>
#include <invar/ops/cuda/kernels.hpp>
#include <invar/ops/cuda/library.hpp>
#include <invar/ops/cuda/plans.hpp>
#include <invar/ops/cuda/settings.hpp>
#include <memory>

namespace invar::cuda {
namespace {

namespace fe = cudnn_frontend;

void check_cudnn(cudnnStatus_t status, const char* op) {
  internal_check(status == CUDNN_STATUS_SUCCESS, op, "cuDNN: {}", cudnnGetErrorString(status));
}

enum class Pass { forward, backward_input, backward_weight };

/// The names of a problem's tensors in cuDNN's graph.
enum Uid : std::int64_t { kX = 1, kWeight, kY };

constexpr const char* name_of(Pass pass) {
  switch (pass) {
    case Pass::forward:
      return "conv2d";
    case Pass::backward_input:
      return "conv2d_backward_input";
    case Pass::backward_weight:
      return "conv2d_backward_weight";
  }
  return "?";
}

/// A pass computes one of x, weight and y from the other two.
struct Problem {
  Pass pass;
  Dims x, weight, y;
  Conv2dOptions o;
  DType dtype;      ///< of the operands
  DType out_dtype;  ///< of the result

  Uid left() const { return pass == Pass::forward ? kX : kY; }
  Uid right() const { return pass == Pass::backward_weight ? kX : kWeight; }
  Uid out() const {
    return pass == Pass::forward ? kY : pass == Pass::backward_input ? kX : kWeight;
  }
  const Dims& shape(Uid uid) const { return uid == kX ? x : uid == kY ? y : weight; }
  double products() const {
    return static_cast<double>(numel_of(y)) * static_cast<double>(weight[1] * weight[2]) *
           static_cast<double>(weight[3]);
  }

  /// The same with channels in multiples of 8, if it is to be computed so.
  Problem padded() const {
    if (dtype != DType::bf16 || o.groups != 1) return *this;
    Problem p = *this;
    p.x[3] = p.weight[3] = round_up(x[3], 8);
    p.y[3] = p.weight[0] = round_up(y[3], 8);
    return p;
  }

  /// For people and files.
  std::string text() const {
    return fmt::format(
        "{} input {} weight {} stride {}x{} padding {}x{} dilation {}x{} groups {} {} to {}",
        name_of(pass), x, weight, o.stride.height, o.stride.width, o.padding.height,
        o.padding.width, o.dilation.height, o.dilation.width, o.groups, dtype, out_dtype);
  }

  /// Everything that the choice of a plan depends on.
  ProblemKey key(Device gpu) const {
    ProblemKey key(
        name_of(pass),
        {static_cast<std::int64_t>(dtype), static_cast<std::int64_t>(out_dtype), o.stride.height,
         o.stride.width, o.padding.height, o.padding.width, o.dilation.height, o.dilation.width,
         o.groups, gpu.index, allow_tf32(), are_deterministic_algorithms_enabled(),
         is_benchmark_on(), static_cast<std::int64_t>(workspace_limit())});
    return key.add(x).add(weight).add(y);
  }
};

using OperandMap = std::unordered_map<std::int64_t, void*>;

/// The GPU that a plan is for: one that is here, with a handle, or one that is only described.
struct PlanTarget {
  cudnnHandle_t handle = nullptr;
  Device gpu;
  std::shared_ptr<const fe::DeviceProperties> description;
};

/// cuDNN's way to compute a problem; no graph: it has none, and `reason` is what it says.
struct Plan {
  std::unique_ptr<fe::graph::Graph> graph;
  std::string reason;
  std::size_t workspace = 0;
};

fe::DataType_t data_type(DType dtype) {
  return dtype == DType::bf16 ? fe::DataType_t::BFLOAT16 : fe::DataType_t::FLOAT;
}

fe::graph::Tensor_attributes image(Uid uid, const Dims& s) {
  const std::int64_t h = s[1], w = s[2], c = s[3];
  return fe::graph::Tensor_attributes()
      .set_uid(uid)
      .set_dim({s[0], c, h, w})
      .set_stride({h * w * c, 1, w * c, c});
}

/// [O, kh, kw, I] is laid out as an image is.
fe::graph::Tensor_attributes weight(const Dims& s) { return image(kWeight, s); }

template <class Attributes>
Attributes window(const Conv2dOptions& o) {
  return Attributes()
      .set_padding({o.padding.height, o.padding.width})
      .set_stride({o.stride.height, o.stride.width})
      .set_dilation({o.dilation.height, o.dilation.width});
}

/// Makes `out`, which an operation of the graph gives, the result with these attributes.
void set_result(const std::shared_ptr<fe::graph::Tensor_attributes>& out,
                const fe::graph::Tensor_attributes& attributes, DType dtype) {
  out->set_output(true)
      .set_uid(attributes.get_uid())
      .set_dim(attributes.get_dim())
      .set_stride(attributes.get_stride())
      .set_data_type(data_type(dtype));
}

void describe(const Problem& p, fe::graph::Graph& graph) {
  graph.set_io_data_type(data_type(p.dtype))
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
  switch (p.pass) {
    case Pass::forward:
      return set_result(
          graph.conv_fprop(graph.tensor(image(kX, p.x)), graph.tensor(weight(p.weight)),
                           window<fe::graph::Conv_fprop_attributes>(p.o)),
          image(kY, p.y), p.out_dtype);
    case Pass::backward_input:
      return set_result(
          graph.conv_dgrad(graph.tensor(image(kY, p.y)), graph.tensor(weight(p.weight)),
                           window<fe::graph::Conv_dgrad_attributes>(p.o)),
          image(kX, p.x), p.out_dtype);
    case Pass::backward_weight:
      return set_result(graph.conv_wgrad(graph.tensor(image(kY, p.y)), graph.tensor(image(kX, p.x)),
                                         window<fe::graph::Conv_wgrad_attributes>(p.o)),
                        weight(p.weight), p.out_dtype);
  }
}

/// The properties of algorithms that are ruled out.
std::vector<fe::NumericalNote_t> unwanted(DType dtype, bool any_reduction) {
  std::vector<fe::NumericalNote_t> notes{fe::NumericalNote_t::DOWN_CONVERT_INPUTS};
  if (!any_reduction) notes.push_back(fe::NumericalNote_t::REDUCED_PRECISION_REDUCTION);
  // For f32, tensor cores mean TF32.
  if (dtype == DType::f32 && !allow_tf32()) notes.push_back(fe::NumericalNote_t::TENSOR_CORE);
  if (are_deterministic_algorithms_enabled()) {
    notes.push_back(fe::NumericalNote_t::NONDETERMINISTIC);
  }
  return notes;
}

/// The time of the graph's current plan on these operands; infinite if it fails.
float milliseconds(fe::graph::Graph& graph, cudnnHandle_t handle, OperandMap& operands,
                   Device gpu) {
  std::int64_t bytes = 0;
  if (graph.get_workspace_size(bytes).is_bad()) return INFINITY;
  const Workspace workspace(static_cast<std::size_t>(bytes), gpu);
  CUstream_st* const stream = current_stream(gpu.index);
  cudaEvent_t begin = nullptr, end = nullptr;
  check_cuda(cudaEventCreate(&begin), "conv2d");
  check_cuda(cudaEventCreate(&end), "conv2d");
  float least = INFINITY;
  constexpr int kRuns = 4;  // the first one warms up
  for (int run = 0; run < kRuns; ++run) {
    check_cuda(cudaEventRecord(begin, stream), "conv2d");
    if (graph.execute(handle, operands, workspace.data()).is_bad()) break;
    check_cuda(cudaEventRecord(end, stream), "conv2d");
    check_cuda(cudaEventSynchronize(end), "conv2d");
    float taken = 0;
    check_cuda(cudaEventElapsedTime(&taken, begin, end), "conv2d");
    if (run > 0) least = std::min(least, taken);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  return least;
}

/// Makes the fastest of cuDNN's first suggestions the graph's plan, or the one that was chosen
/// before (set_plan_choices).
fe::error_t build_fastest(const Problem& p, fe::graph::Graph& graph, cudnnHandle_t handle,
                          OperandMap& operands, Device gpu) {
  constexpr int kMostTimed = 8;
  const std::string problem = p.text();
  const PlanChoices choices = plan_choices();
  const auto chosen = choices.find(problem);
  std::string name, fastest_name;
  std::int64_t fastest = -1;
  float least = INFINITY;
  int timed = 0;
  for (std::int64_t i = 0; i < graph.get_execution_plan_count(); ++i) {
    if (graph.get_plan_name_at_index(i, name).is_bad()) continue;
    if (chosen != choices.end() && name == chosen->second) {
      if (graph.build_plan_at_index(handle, i).is_good()) return {};
      break;
    }
  }
  for (std::int64_t i = 0; i < graph.get_execution_plan_count() && timed < kMostTimed; ++i) {
    if (graph.build_plan_at_index(handle, i).is_bad()) continue;
    ++timed;
    const float taken = milliseconds(graph, handle, operands, gpu);
    if (taken >= least || graph.get_plan_name_at_index(i, fastest_name).is_bad()) continue;
    least = taken;
    fastest = i;
  }
  if (fastest < 0) return {fe::error_code_t::GRAPH_EXECUTION_PLAN_CREATION_FAILED, "no plan runs"};
  add_plan_choice(problem, fastest_name);
  return graph.build_plan_at_index(handle, fastest);
}

/// `any_reduction`: also one whose sums are below f32.
Plan make_plan(const Problem& p, const PlanTarget& target, OperandMap& operands,
               bool any_reduction = false) {
  auto graph = std::make_unique<fe::graph::Graph>();
  if (target.description) graph->set_device_properties(target.description);
  describe(p, *graph);
  fe::error_t result = graph->validate();
  if (result.is_good()) result = graph->build_operation_graph(target.handle);
  if (result.is_good()) {
    result = graph->create_execution_plans({fe::HeurMode_t::A, fe::HeurMode_t::FALLBACK});
  }
  if (result.is_good()) {
    graph->deselect_numeric_notes(unwanted(p.dtype, any_reduction));
    graph->deselect_workspace_greater_than(static_cast<std::int64_t>(workspace_limit()));
    result = graph->check_support(target.handle);
  }
  if (result.is_good()) {
    result = is_benchmark_on() && target.handle
                 ? build_fastest(p, *graph, target.handle, operands, target.gpu)
                 : graph->build_plans(target.handle, fe::BuildPlanPolicy_t::HEURISTICS_CHOICE);
  }
  std::int64_t workspace = 0;
  if (result.is_good()) result = graph->get_workspace_size(workspace);
  if (result.is_bad() && p.dtype == DType::bf16 && !any_reduction) {
    return make_plan(p, target, operands, /*any_reduction=*/true);
  }
  if (result.is_bad()) return {nullptr, result.get_message(), 0};
  return {std::move(graph), "", static_cast<std::size_t>(workspace)};
}

Handles<cudnnHandle_t>& handles() {
  static auto* const made = new Handles<cudnnHandle_t>(
      [] {
        cudnnHandle_t handle = nullptr;
        check_cudnn(cudnnCreate(&handle), "conv2d");
        return handle;
      },
      [](cudnnHandle_t handle, CUstream_st* stream) {
        check_cudnn(cudnnSetStream(handle, stream), "conv2d");
      });
  return *made;
}

/// A plan that can be made need not run: the first of cuDNN's that does takes its place, else gives
/// the last one's error.
fe::error_t run_another(Plan& plan, cudnnHandle_t handle, OperandMap& operands, Device gpu) {
  fe::graph::Graph& graph = *plan.graph;
  fe::error_t result = {fe::error_code_t::GRAPH_EXECUTION_FAILED, "no plan runs"};
  for (std::int64_t i = 0; i < graph.get_execution_plan_count() && result.is_bad(); ++i) {
    std::int64_t bytes = 0;
    if (graph.build_plan_at_index(handle, i).is_bad()) continue;
    if (graph.get_workspace_size(bytes).is_bad()) continue;
    plan.workspace = static_cast<std::size_t>(bytes);
    const Workspace workspace(plan.workspace, gpu);
    result = graph.execute(handle, operands, workspace.data());
  }
  return result;
}

/// Runs cuDNN's plan for the problem; gives cuDNN's words if it has none.
std::optional<std::string> try_run(const Problem& p, const Tensor& left, const Tensor& right,
                                   const Tensor& out) {
  // One cache per GPU: the lock of the GPU's lease guards it.
  static auto* const plans = new std::array<PlanCache<Plan>, 128>;
  const Device gpu = out.device();
  const Lease<cudnnHandle_t> lease = handles().lease(gpu);
  OperandMap operands{
      {p.left(), left.raw_data()}, {p.right(), right.raw_data()}, {p.out(), out.raw_data()}};
  Plan& plan = (*plans)[static_cast<std::size_t>(gpu.index)].find_or_make(p.key(gpu), [&] {
    return make_plan(p, {lease.handle, gpu, nullptr}, operands);
  });
  if (!plan.graph) return plan.reason;
  const Workspace workspace(plan.workspace, gpu);
  fe::error_t result = plan.graph->execute(lease.handle, operands, workspace.data());
  if (result.is_good()) return std::nullopt;
  check_cuda(cudaPeekAtLastError(), name_of(p.pass));  // not the plan's fault alone
  check_not_recording("a convolution that its plan can compute");
  result = run_another(plan, lease.handle, operands, gpu);
  if (result.is_good()) return std::nullopt;
  plan = {nullptr, result.get_message(), 0};
  return plan.reason;
}

/// The first elements of x in each dimension: a view.
Tensor beginning(const Tensor& x, const Dims& shape) {
  return alias(x, shape, x.strides(), x.offset());
}

/// x with zeros appended.
Tensor padded_to(const Dims& shape, const Tensor& x) {
  if (x.shape() == shape) return aligned(x);
  const Tensor out = empty(shape, x.options());
  fill(0, out);
  copy(x, beginning(out, x.shape()));
  return out;
}

[[noreturn]] void fail_no_plan(const Problem& p, const std::string& reason) {
  fail(name_of(p.pass),
       "expected a convolution that cuDNN has a plan for, got {} (cuDNN: {}): more workspace than "
       "{} MiB{}{} may help (ops/cuda/settings.hpp)",
       p.text(), reason, workspace_limit() >> 20,
       p.dtype == DType::f32 && !allow_tf32() ? ", TF32" : "",
       are_deterministic_algorithms_enabled() ? ", algorithms that are not deterministic" : "");
}

/// The problem to try when cuDNN has no plan for q: one whose result is rounded to the operands'
/// dtype. None if that is what q asks for.
std::optional<Problem> rounded(const Problem& q) {
  if (q.out_dtype == q.dtype) return std::nullopt;
  Problem narrow = q;
  narrow.out_dtype = q.dtype;
  return narrow;
}

/// A problem is small if the plain kernels need some milliseconds at most.
bool is_small(const Problem& p) { return p.products() <= double{1 << 30}; }

/// Computes the problem by cuDNN. False if it has no plan and `p` is small.
bool run(const Problem& p, const Tensor& left, const Tensor& right, const Tensor& out) {
  const Problem q = p.padded();
  const Tensor a = padded_to(q.shape(q.left()), left), b = padded_to(q.shape(q.right()), right);
  const Dims& shape = q.shape(q.out());
  const Tensor whole = shape == out.shape() ? out : empty(shape, out.options());
  std::optional<std::string> refused = try_run(q, a, b, whole);
  if (const auto second = refused ? rounded(q) : std::nullopt) {
    const Tensor narrow = empty(shape, {.dtype = q.dtype, .device = out.device()});
    refused = try_run(*second, a, b, narrow);
    if (!refused) copy(narrow, whole);
  }
  if (refused) {
    if (!is_small(p)) fail_no_plan(p, *refused);
    add_convolution_without_plan(p.text(), *refused);
    return false;
  }
  if (!whole.is_same(out)) copy(beginning(whole, out.shape()), out);
  return true;
}

bool is_empty(const Tensor& t) { return t.numel() == 0; }

}  // namespace

void conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& o,
            const Tensor& out) {
  if (is_empty(out)) return;
  if (is_empty(x)) {  // no channels: the empty sum
    if (bias.defined()) return copy(bias, out);
    return fill(0, out);
  }
  const Problem p{Pass::forward, x.shape(), weight.shape(), out.shape(), o, x.dtype(), out.dtype()};
  if (x.dtype() == DType::f64 || !run(p, x, weight, out)) {
    return plain::conv2d(x, weight, bias, o, out);
  }
  if (bias.defined()) plain::add_bias(bias, out);
}

void conv2d_backward_input(const Tensor& gradient, const Tensor& weight, const Conv2dOptions& o,
                           const Tensor& out) {
  if (is_empty(gradient) || is_empty(out)) return fill(0, out);
  const Problem p{Pass::backward_input, out.shape(), weight.shape(), gradient.shape(), o,
                  gradient.dtype(),     out.dtype()};
  if (out.dtype() == DType::f64 || !run(p, gradient, weight, out)) {
    plain::conv2d_backward_input(gradient, weight, o, out);
  }
}

void conv2d_backward_weight(const Tensor& gradient, const Tensor& x, const Conv2dOptions& o,
                            const Tensor& out) {
  if (is_empty(gradient) || is_empty(x)) return fill(0, out);
  const Problem p{Pass::backward_weight, x.shape(),  out.shape(), gradient.shape(), o,
                  gradient.dtype(),      out.dtype()};
  if (out.dtype() == DType::f64 || !run(p, gradient, x, out)) {
    plain::conv2d_backward_weight(gradient, x, o, out);
  }
}

std::vector<ConvPlan> conv_plans(const std::string& device, const Dims& x, const Dims& weight,
                                 const Conv2dOptions& o, DType dtype) {
  const auto description = std::make_shared<fe::DeviceProperties>();
  fe::error_t read = description->deserialize({device.begin(), device.end()});
  check(read.is_good(), "conv_plans", "expected cuDNN's description of a GPU, got {} (cuDNN: {})",
        device, read.get_message());
  const auto size = [&](int d, std::int64_t stride, std::int64_t padding, std::int64_t dilation) {
    return (x[d] + 2 * padding - dilation * (weight[d] - 1) - 1) / stride + 1;
  };
  const Dims y{x[0], size(1, o.stride.height, o.padding.height, o.dilation.height),
               size(2, o.stride.width, o.padding.width, o.dilation.width), weight[0]};
  const PlanTarget target{nullptr, {}, description};
  OperandMap none;
  std::vector<ConvPlan> plans;
  for (const Pass pass : {Pass::forward, Pass::backward_input, Pass::backward_weight}) {
    const DType out_dtype = pass == Pass::backward_weight ? DType::f32 : dtype;
    const Problem q = Problem{pass, x, weight, y, o, dtype, out_dtype}.padded();
    Plan plan = make_plan(q, target, none);
    ConvPlan found;
    found.problem = q.text();
    if (const auto second = plan.graph ? std::nullopt : rounded(q)) {
      plan = make_plan(*second, target, none);
      found.rounded = plan.graph != nullptr;
    }
    found.reason = plan.reason;
    found.workspace = plan.workspace;
    if (plan.graph && plan.graph->get_plan_name(found.name).is_bad()) found.name = "unnamed";
    plans.push_back(std::move(found));
  }
  return plans;
}

}  // namespace invar::cuda
