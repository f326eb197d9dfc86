"""Where runs live."""

from concurrent.futures import ThreadPoolExecutor

from retrieval.jobs.runs import run_dir


def test_runs_that_start_at_once_get_folders_of_their_own(tmp_path):
    with ThreadPoolExecutor(8) as threads:
        folders = list(threads.map(lambda _: run_dir(str(tmp_path), "name", None), range(8)))
    assert len(set(folders)) == 8


def test_the_newest_run_with_a_checkpoint_is_found_again(tmp_path):
    folders = [tmp_path / "name" / start for start in ("2026-01-01_00-00-00", "2026-01-01_00-00-00_2")]
    for folder in folders:
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "checkpoints" / "last.ckpt").touch()
    (tmp_path / "name" / "2026-01-02_00-00-00").mkdir()
    assert run_dir(str(tmp_path), "name", "last") == str(folders[1])
