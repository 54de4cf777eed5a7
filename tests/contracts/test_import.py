"""What importing the library brings with it."""


def test_importing_mtopt_is_as_light_as_jax_and_optax():
    """And leaves JAX's settings as they were, its compilation cache among them."""
    import subprocess
    import sys

    code = (
        "import sys, mtopt\n"
        "heavy = {'flax', 'tensorflow_datasets', 'tensorflow', 'torch', 'grain',"
        " 'orbax', 'sklearn', 'matplotlib', 'ml_collections',"
        " 'absl.flags'} & set(sys.modules)\n"
        "import jax, optax\n"
        "print(sorted(heavy), sorted(jax.config.values.items()))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    alone = subprocess.run(
        [sys.executable, "-c", code.replace(", mtopt", ", jax, optax")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == alone.stdout
