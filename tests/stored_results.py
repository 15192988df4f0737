"""The results of jobs in the store, as a test reads, damages or rearranges them."""

import json

from metseg.jobs import RESULT, Artefact, JobService, read_artefact


def stored_artefact(jobs: JobService, job_id: str, name: str) -> bytes:
    """An artefact of a job."""
    return read_artefact(jobs._objects, jobs.results(job_id), name)


def put_artefacts(jobs: JobService, job_id: str, changed: dict[str, bytes]) -> None:
    """Write the model's own artefacts of a job again, with changes and additions, in place of its results."""
    own = jobs.results(job_id, reviewed=False).own
    contents = {name: jobs._objects.get(*own.part(name)) for name in own.artefacts} | changed
    records, first = {}, 0
    for name, content in contents.items():
        records[name] = Artefact.of(content, first).model_dump()
        first += len(content)
    jobs._objects.put(own.key, b"".join(contents.values()))
    key = f"jobs/{job_id}/end.json"
    jobs._objects.put(key, json.dumps(json.loads(jobs._objects.get(key)) | {"digests": records}).encode())


def cut(jobs: JobService, job_id: str, name: str) -> None:
    """Let the object of a job's artefacts end before the end of this one."""
    part = jobs.results(job_id).part(name)
    jobs._objects.put(part.key, jobs._objects.get(part.key, 0, part.first + part.size - 20))


def flip_a_bit(jobs: JobService, job_id: str, name: str) -> None:
    """Change a bit in the middle of an artefact."""
    part = jobs.results(job_id).part(name)
    content = bytearray(jobs._objects.get(part.key))
    content[part.first + part.size // 2] ^= 1
    jobs._objects.put(part.key, bytes(content))


def split_into_objects(jobs: JobService, job_id: str) -> None:
    """Rearrange the results and reviews of a job as releases before December 2026 stored them: an object per file."""
    store, results = jobs._objects, jobs.results(job_id)
    for artefacts in filter(None, (results.own, results.reviewed)):
        contents = {name: store.get(*artefacts.part(name)) for name in artefacts.artefacts}
        store.delete(artefacts.key)
        for name, content in contents.items():
            store.put(f"{artefacts.key}/{name}", content)
    for key in [f"jobs/{job_id}/end.json", *(info.key for info in store.list(f"jobs/{job_id}/reviews/"))]:
        record = json.loads(store.get(key))
        for artefact in record["digests"].values():
            del artefact["first"]
        record["digests"].pop(RESULT)
        store.put(key, json.dumps(record).encode())
