// The addresses that MLflow's client prints, /#/experiments/3/runs/ID, lead to what they mean here.
const run = /^#\/experiments\/\d+\/runs\/(r_[0-9a-z]+)$/.exec(location.hash);
if (run) location.replace(`/runs/${run[1]}`);
else if (location.hash.startsWith("#/experiments/")) location.replace("/runs");
