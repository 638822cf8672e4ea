-- What pg_dump says of a store of format 1 with three starts, without its comments.

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

SET default_tablespace = '';

SET default_table_access_method = heap;

CREATE TABLE public.bitloop_facts (
    sequence bigint NOT NULL,
    outcome_of bytea,
    fact json NOT NULL
);

CREATE TABLE public.bitloop_store (
    only_row boolean DEFAULT true NOT NULL,
    tables_format integer NOT NULL,
    facts_format integer NOT NULL,
    epoch bigint NOT NULL,
    facts bigint NOT NULL,
    CONSTRAINT bitloop_store_only_row_check CHECK (only_row)
)
WITH (fillfactor='10');

INSERT INTO public.bitloop_facts VALUES (0, NULL, '{"experiment_submitted":{"plan":{"format":4,"name":"stored","numerics":"float","model":"blake3:ccca53791b024d98ee5d8c126d923e16f6cede945beb0b93c9abca301ed453e7","graph":{"name":"small","input":{"shape":[2,8,8],"mean":[0.5,0.5],"std":[0.25,0.25]},"nodes":[{"name":"conv","op":{"type":"conv2d","out_channels":4,"kernel":[3,3],"stride":[1,1],"padding":{"top":1,"left":1,"bottom":1,"right":1},"groups":1,"bias":false},"inputs":["input"]},{"name":"relu","op":{"type":"relu"},"inputs":["conv"]},{"name":"flatten","op":{"type":"flatten"},"inputs":["relu"]},{"name":"dense","op":{"type":"linear","out_features":3,"bias":true},"inputs":["flatten"]}]},"points":[{"name":"input.output","kind":"activation","node":"input","elements":128,"tensors":["input"]},{"name":"conv.weight","kind":"weight","node":"conv","elements":72},{"name":"relu.output","kind":"activation","node":"relu","elements":256,"tensors":["relu"],"passed_on":["flatten"]},{"name":"dense.weight","kind":"weight","node":"dense","elements":768},{"name":"dense.output","kind":"activation","node":"dense","elements":3,"tensors":["dense"]}],"data":{"calibration":{"digest":"blake3:f234703418ac1405d0b1df73cb3c6354badbaa4cdaa40f5a37d9ab84f95ea973","images":8},"selection":{"digest":"blake3:c92794e2bb3ad140f6abf00af8271a8c4b5601876e65aca428c75a96bc771af7","images":100},"report":{"digest":"blake3:31f27cf7db1e7900e8f103eb795a37f48594a154ed8f604081fa2fc1f3d3e884","images":100}},"transforms":[],"guard":{"data":"blake3:c92794e2bb3ad140f6abf00af8271a8c4b5601876e65aca428c75a96bc771af7","images":{"start":0,"len":100},"drop_max_ppm":0},"candidates":{"weight_bits":[2,4],"activation_bits":[4],"weights":{"scheme":"symmetric","granularity":"per_channel","calibration":"min_max"},"activations":{"scheme":"asymmetric","calibration":"min_max"},"biases":"float","baseline":8},"evaluation":{"full":{"part_images":null}},"stages":["prepare",{"sensitivity":{"single":[0,1,2,3,4]}}]},"sources":{"model.safetensors":"blake3:ccca53791b024d98ee5d8c126d923e16f6cede945beb0b93c9abca301ed453e7"}}}');
INSERT INTO public.bitloop_facts VALUES (1, NULL, '{"step_proposed":{"experiment":"stored-9414c2a9","stage":1,"batch":{"context":{"prepared":"blake3:d3d7a02daf17f3fffb50ab751366008e0a6bb77f4c8a1fc7bccb526045cca39a","data":"blake3:c92794e2bb3ad140f6abf00af8271a8c4b5601876e65aca428c75a96bc771af7","images":{"start":0,"len":100},"numerics":"float","baseline":{"bits":8},"points":["input.output","conv.weight","relu.output","dense.weight","dense.output"]},"trials":[{"evaluate":{"context":"blake3:d4ddcff79ca9bd27c3d3446bdf6519a1a2e909a748d6ddd1171366d4e71e2ab0","config":{"0":{"bits":4}},"part":{"start":0,"len":100}}},{"evaluate":{"context":"blake3:d4ddcff79ca9bd27c3d3446bdf6519a1a2e909a748d6ddd1171366d4e71e2ab0","config":{"1":{"bits":4}},"part":{"start":0,"len":100}}}]}}}');
INSERT INTO public.bitloop_facts VALUES (2, '\x5939ba9f6e2ad7d37cd0bd18f1f0f69148c179414e621f9b197cfc555874f944', '{"outcome_committed":{"key":"blake3:5939ba9f6e2ad7d37cd0bd18f1f0f69148c179414e621f9b197cfc555874f944","outcome":{"result":{"evaluated":{"n":100,"correct":89,"correct_top5":0,"lost":0,"gained":0,"loss_sum":19.1,"loss_difference_sum":0.0,"loss_difference_squares":0.0,"kl_sum":0.0,"signal_sum":0.0,"noise_sum":0.0}},"provenance":{"engine":"test","device":"cpu","kernels":"none"}}}}');
INSERT INTO public.bitloop_facts VALUES (3, '\x92bebf9f6e77441b25c723f8fee27d9356a1b970de2bdc7089af6611f0c8ebe2', '{"outcome_committed":{"key":"blake3:92bebf9f6e77441b25c723f8fee27d9356a1b970de2bdc7089af6611f0c8ebe2","outcome":{"result":{"evaluated":{"n":100,"correct":46,"correct_top5":0,"lost":0,"gained":0,"loss_sum":63.43333333333334,"loss_difference_sum":0.0,"loss_difference_squares":0.0,"kl_sum":0.0,"signal_sum":0.0,"noise_sum":0.0}},"provenance":{"engine":"test","device":"cpu","kernels":"none"}}}}');

INSERT INTO public.bitloop_store VALUES (true, 1, 2, 3, 4);

ALTER TABLE ONLY public.bitloop_facts
    ADD CONSTRAINT bitloop_facts_outcome_of_key UNIQUE (outcome_of);

ALTER TABLE ONLY public.bitloop_facts
    ADD CONSTRAINT bitloop_facts_pkey PRIMARY KEY (sequence);

ALTER TABLE ONLY public.bitloop_store
    ADD CONSTRAINT bitloop_store_pkey PRIMARY KEY (only_row);
