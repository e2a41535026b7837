"""What `phi bench data` has datatrove do, in its own Python: programs that print their processor seconds."""

RULES = """
import json, sys, time
from datatrove.data import Document
from datatrove.pipeline.filters import C4QualityFilter, FineWebQualityFilter
from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter
filters = [GopherRepetitionFilter(), GopherQualityFilter()]
filters += [C4QualityFilter(filter_no_terminal_punct=False), FineWebQualityFilter()]
texts = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
for one in filters:
    one.filter(Document(text=texts[0], id="0"))
start = time.process_time()
for number, text in enumerate(texts):
    for one in filters:
        one.filter(Document(text=text, id=str(number)))
print(time.process_time() - start)
"""

MINHASH = """
import json, sys, tempfile, time
from datatrove.pipeline.dedup.minhash import MinhashDedupSignature
step = MinhashDedupSignature(tempfile.mkdtemp())
texts = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
step.get_signature(step.get_shingles(texts[0]))
start = time.process_time()
for text in texts:
    step.get_signature(step.get_shingles(text))
print(time.process_time() - start)
"""

PACK = """
import json, sys, tempfile, time
from datatrove.data import Document
from datatrove.pipeline.tokens import DocumentTokenizer
texts = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
documents = [Document(text=text, id=str(number)) for number, text in enumerate(texts)]
step = DocumentTokenizer(tempfile.mkdtemp(), "TOKENIZER", eos_token="<|endoftext|>", shuffle_documents=False)
step.tokenizer
start = time.process_time()
for _ in step.run(iter(documents)) or ():
    pass
print(time.process_time() - start)
"""

EXTRACT = """
import sys, time
from trafilatura import extract
from warcio.archiveiterator import ArchiveIterator
start = time.process_time()
with open(sys.argv[1], "rb") as stream:
    for record in ArchiveIterator(stream):
        http = record.http_headers
        if record.rec_type != "response" or not http or http.get_statuscode() != "200":
            continue
        if "html" in (http.get_header("Content-Type") or ""):
            try:
                extract(record.content_stream().read(), favor_precision=True, include_comments=False, deduplicate=True)
            except Exception:
                pass
print(time.process_time() - start)
"""
