"""Which tests take long."""

SLOW = (
    # Thousands of stages, compiled and compared.
    "engine/test_chains.py",
    "engine/test_pointwise_stages.py::test_networks",
    "engine/test_pointwise_stages.py::test_usual_formats",
    "executors/test_engine.py::test_any_example",
    "executors/test_engine.py::test_row_bands",
    "executors/test_onnx.py::test_any_example",
    "executors/test_torch.py::test_any_example",
    "ops/test_windows.py",
    # Simulated, synthesized and proved hardware.
    "hls/test_adder_graph_verilog.py",
    "hls/test_formal.py",
    "hls/test_stream_modules.py",
    "hls/test_synth.py",
    "hls4ml/test_hls4ml_ops.py",
    "hls4ml/test_project.py",
    "rtl_sim/test_compressed_cores.py",
    "rtl_sim/test_core_mutations.py",
    "rtl_sim/test_cosim.py",
    "rtl_sim/test_malformed.py",
    "rtl_sim/test_cores_per_channel.py",
    "rtl_sim/test_whole_frames.py",
    # Networks that are trained, quantized and measured.
    "frontend/test_classifiers.py",
    "models/events/test_event_networks.py::test_fixed_point_in_every_executor",
    "models/events/test_event_training.py::test_training_with_roundings_runs_through_the_states",
    "models/recognition/test_recognition_training.py::test_trained_weights_become_a_model",
    "models/recognition/test_zoo_fixed.py",
    "models/test_flash_full.py",
    "models/test_demo.py::test_demo_on_the_shipped_photograph",
    "models/test_ship.py::test_the_shipped_models_are_made_again_byte_for_byte",
    "models/test_sr.py",
    "models/test_sr_pipeline.py",
    "quantization/test_qat.py",
    "quantization/test_quantize.py",
    "quantization/test_random_graphs.py",
    "quantization/test_refinement.py",
    "quantization/test_robustness.py",
    "test_benchmark_line_compression.py",
    "test_benchmarks.py",
    "test_benchmarks_mutation.py",
    "test_benchmarks_psnr.py",
    "test_benchmarks_zoo.py",
)
"""Files and tests of more than about ten seconds. ``make test`` leaves them out, ``make test-all``
and continuous integration run them."""
