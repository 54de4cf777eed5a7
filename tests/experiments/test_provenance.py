"""What a run remembers of where it came from."""

import subprocess

from experiments.common import provenance


def test_the_revision_is_that_of_this_code_and_of_no_repository_around_it(
    tmp_path, monkeypatch
):
    file = tmp_path / "provenance.py"
    file.write_text("")
    monkeypatch.setattr(provenance, "__file__", str(file))
    assert provenance.provenance()["git"] is None
    who = ["-c", "user.name=a", "-c", "user.email=a@localhost"]

    def git(*command):
        subprocess.run(["git", *who, *command], cwd=tmp_path, check=True)

    git("init", "--quiet")
    (tmp_path / "theirs.txt").write_text("")
    git("add", "theirs.txt")
    git("commit", "--quiet", "--message=theirs")
    assert provenance.provenance()["git"] is None
    git("add", "provenance.py")
    git("commit", "--quiet", "--message=ours")
    revision = provenance.provenance()["git"]
    assert len(revision) == 40
    file.write_text("changed = True")
    assert provenance.provenance()["git"] == f"{revision}-dirty"
