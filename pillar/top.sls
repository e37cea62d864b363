{#- Adding a pair: its file pairs/NAME.sls, and one line here: NAME PRIMARY SECONDARY (minion ids). The file of a first
    one is printed by `salt-run pair.new NAME PRIMARY SECONDARY`. A line that begins with "#" counts for nothing: those
    below are examples, the pairs of a cluster, each with its file in pairs/. Keep the ones that you have.

    A node sees its own pair only; a master's orchestrations (the minion id of the master with "_master" behind it)
    see all of them. The list is plain text on purpose: searching it costs nothing, while a thousand targets
    in YAML would be parsed anew for every node. -#}
{%- set pairs -%}
# mgmt mgmt1 mgmt2
# slurm slurm1 slurm2
# mx mx1 mx2
# monitor monitor1 monitor2
# salt salt1 salt2
# home home2 home1
# ssc ssc1 ssc2
# apps apps2 apps1
# archive archive3 archive4
{%- endset -%}
{%- set mine = [] -%}
{%- for line in pairs.splitlines() if opts.id in line or opts.id.endswith('_master') -%}
{%-   set words = line.split() -%}
{%-   if words and not words[0].startswith('#') and (opts.id in words[1:] or opts.id.endswith('_master')) -%}
{%-     do mine.append('pairs.' ~ words[0]) -%}
{%-   endif -%}
{%- endfor -%}
base: {% if mine %}{{ {opts.id: mine} | json }}{% else %}{}{% endif %}
